"""Exposure: which training samples would a model trained so give away, and how far can members be told at all?"""

import shlex

import numpy as np
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.elements import gallery
from lossprint.app.shared import drawer, parts
from lossprint.audit.memorized import exposure
from lossprint.audit.memorized.exposure import Exposed
from lossprint.audit.types import LossprintError

SHOWN = 48
FIRST = 0.01  # the share of the ranking that is compared with the flagged labels
HOW = """
**Exposed** is a sample that the model learnt late, but fully: its loss was high for long, and is near zero at the end.
The ranking is by the distance of the quartiles of its losses over the checkpoints (LT-IQR, arXiv 2411.05743); what was
never learnt comes last. No further model is trained.

**The attack** guesses by the last loss alone who was trained on: validation samples are those who were not. Attacks
with many shadow models find more of the exposed.

**When not to trust it.** It is a ranking, no proof, and says nothing certain of one sample or person. It speaks for the
recorded training: of a model that is to be released import its own losses. With few checkpoints, or where training
stopped early, traces are too short. Validation samples of another source than the training samples are told from them
by that source. Wrong labels are learnt by heart: correct them before anything is left out.
"""


def render(loaded: data.Loaded) -> None:
    parts.header("Exposure", f"Which training {loaded.noun}s would a model trained so give away?")
    try:
        exposed = _kept(str(loaded.run.path), exposure.stamp(loaded.run), loaded)
    except LossprintError as error:
        st.error(parts.md(error), icon=":material/error:")
        return
    if exposed is None:
        parts.empty(
            "Not measured yet",
            "From the recorded losses of this run, without training anything; it takes seconds:",
            "visibility",
        )
        st.code(f"lossprint exposure {shlex.quote(str(loaded.run.path))}", language=None, wrap_lines=True)
        if roles.may("owner"):
            st.button("Measure", key="exposure-measure", icon=":material/refresh:", on_click=_measure, args=(loaded,))
        return
    _numbers(exposed)
    for note in exposed.notes:
        st.caption(parts.md(f"{note[:1].upper()}{note[1:]}."))
    with st.expander("What it means, and when not to trust it", icon=":material/help:"):
        st.markdown(HOW)
        for sentence in exposure.sentences(exposed):
            st.markdown(f"- {parts.md(sentence)}.")
    _first(loaded, exposed)


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(path: str, stamp: int, _loaded: data.Loaded) -> Exposed | None:
    return exposure.kept(_loaded.run) if stamp else None


def _measure(loaded: data.Loaded) -> None:
    try:
        roles.require("owner", "to measure exposure")
        exposure.measure(loaded.run)
    except (LossprintError, OSError) as error:
        st.session_state["_error"] = f"Exposure was not measured: {parts.md(error)}"


def _numbers(exposed: Exposed) -> None:
    attack = exposed.attack
    if attack is None:
        return
    grid = st.grid(len(attack.found) + 2, min_column_width=190, gap="small")
    card = {"border": True, "height": "stretch"}
    grid.metric(
        "Members told by their loss",
        f"{attack.auroc:.3f}",
        help=f"AUROC of the last loss, .5 is chance; standard error {attack.error:.3f}.",
        **card,
    )
    for rate in attack.found:
        grid.metric(
            f"Found at {100 * rate.rate:g} % false alarms",
            f"{100 * rate.found:.1f} %" if rate.measured else "not measurable",
            help=f"Of the members; by chance {100 * rate.rate:g} %. "
            + (
                f"90 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f} %."
                if rate.measured
                else f"It takes {1 / rate.rate:,.0f} samples that were not trained on."
            ),
            **card,
        )
    tail = next((one for one in reversed(attack.spared) if one.measured), None)
    grid.metric(
        "Surely not members",
        "–" if tail is None else f"{100 * tail.found:.1f} %",
        help="Of the validation samples, those with a loss that hardly a member has. The more, the more an attack with "
        "shadow models is likely to find.",
        **card,
    )


def _first(loaded: data.Loaded, exposed: Exposed) -> None:
    table = exposed.table
    ranked = table[(table["rank"] > 0) & table["learnt"].astype(bool) & table["sample"].isin(loaded.samples.index)]
    ranked = ranked.sort_values("rank")
    if ranked.empty:
        parts.empty("Nothing is ranked", "No training sample was learnt late and fully.", "info")
        return
    st.subheader("The most exposed", anchor=False)
    first = ranked["sample"].head(max(round(FIRST * len(table)), 1))
    flagged = set(loaded.of_kind("label_error")["sample"])
    doubted = int(np.isin(first, list(flagged)).sum())
    if doubted:
        st.caption(
            f"Of the first {parts.plural(len(first), 'sample')} {doubted:,} have a label that is flagged as wrong: a "
            "corrected one need not be learnt by heart."
        )
        parts.link("labels", "Wrong labels", "label_off")
    parts.link("coreset", "Train without the most exposed", "filter_alt", {"exposed": 5, "keep": 90})
    tiles = [
        parts.tile(
            loaded,
            row.sample,
            given=str(loaded.samples.at[row.sample, "label"]),
            note=f"spread {row.exposure:.2f}, last loss {row.final_loss:.2f} nats",
            **({"badge": "flagged", "tone": "warn"} if row.sample in flagged else {}),
        )
        for row in ranked.head(SHOWN).itertuples()
    ]
    parts.tell_missing(tiles)
    gallery(tiles, key="exposed", label="The most exposed samples", selected=drawer.opened(), on_open=drawer.show)
    drawer.draw(loaded, [tile.id for tile in tiles])
