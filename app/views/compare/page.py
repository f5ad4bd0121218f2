"""Compare runs: do two trainings agree on what is suspect?"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import owned
from lossprint.app.elements import gallery
from lossprint.app.shared import decide, drawer, parts
from lossprint.app.shared.help import about
from lossprint.app.shared.owners import working
from lossprint.app.views.compare import agreement, charts
from lossprint.app.views.compare.agreement import Agreement
from lossprint.audit.scores import SCORES
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import offered
from lossprint.scoring.labels import SUSPECT

PER_PAGE = 24
HERE = "this run/"  # no folder's name has a slash: another run cannot be called like it
FOLDS = f"{HERE}out of fold"
SETS = ("both", "first", "second")
WORDS = {
    "both": "Flagged by both trainings, so chance has little part in it: start here.",
    "first": "Flagged by {first} only: often a hard sample, on which chance decides.",
    "second": "Flagged by {second} only: often a hard sample, on which chance decides.",
}
MEASURED = (
    "Measured on the embedded demo, whose wrong labels are known, with the seeds 0 and 1: 41 % of what both flag as "
    "label errors are wrong labels, and 5 % of what only one of them flags."
)


@dataclass(frozen=True)
class Pair:
    """Two score tables and which of their rows are the same sample. `first` is of the run that is open."""

    first: pd.DataFrame
    second: pd.DataFrame
    matched: agreement.Matched
    relabelled: int

    @property
    def scores(self) -> list[str]:
        """The scores that both know."""
        return [name for name in SCORES if all(_known(table, name) for table in (self.first, self.second))]

    def values(self, score: str) -> tuple[np.ndarray, np.ndarray]:
        """The score of the matched samples in both, (N,) each."""
        return (
            self.first[score].to_numpy(float)[self.matched.first],
            self.second[score].to_numpy(float)[self.matched.second],
        )


def _known(table: pd.DataFrame, score: str) -> bool:
    return score in table and bool(table[score].notna().any())


def render(loaded: data.Loaded) -> None:
    parts.header("Compare runs", "Do two trainings agree on what is suspect? What both flag is the safest to act on.")
    others = _others(loaded)
    if not others:
        _alone(loaded)
        return
    left, slot, beside = st.columns([4, 3, 4], gap="medium", vertical_alignment="bottom")
    with left:
        other = st.selectbox("Compare with", others, format_func=_name, **_in_url("other", others))
    try:
        stamp = _stamp(loaded, other)
        with st.spinner("Matching samples …"):
            pair = data.derived(loaded, _pair, other, stamp)
        _told_differences(loaded, other, pair)
    except LossprintError as error:
        parts.empty("It cannot be opened", parts.md(error), "error")
        return
    if not len(pair.matched.first):
        parts.empty(
            "No sample in common",
            "No training sample of one is in the other, so there is nothing to compare. Choose another run.",
            "difference",
        )
        return
    if not pair.scores:
        parts.empty("No score in common", "The two share samples, but no score. Score both again.", "info")
        return
    scores = sorted(pair.scores, key=lambda name: name != "label_error")
    with slot:
        score = st.selectbox(
            "By", scores, format_func=lambda name: SCORES[name].title, **_in_url("score", scores, "cpage")
        )
    with beside:
        about(score)
    with st.spinner("Comparing …"):
        found = data.derived(loaded, _agree, other, stamp, score)
        table = data.derived(loaded, _correlations, other, stamp)
    names = _names(loaded, other)
    _numbers(found, names)
    _charts(table, found, names)
    _sets(loaded, pair, found, names)


def _in_url(name: str, options: Sequence[str], page: str | None = None) -> dict:
    """Arguments of a widget whose choice is the URL's (`?score=csl`). A bound one would put the text shown there.

    The first option is the default. Another choice starts the paging `page` anew.
    """
    key = f"compare-{name}"
    asked = st.query_params.get(name)
    st.session_state[key] = asked if asked in options else options[0]

    def chosen() -> None:
        st.query_params[name] = st.session_state[key]
        if page in st.session_state:
            st.session_state[page] = 1

    return {"key": key, "on_change": chosen}


def _cut(name: str, longest: int = 24) -> str:
    name = " ".join(name.split())
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _alone(loaded: data.Loaded) -> None:
    parts.empty(
        "Only one run here",
        "A second training with another seed shows which findings stand and which were chance. Make one beside this "
        "run:",
        "difference",
    )
    root = owned.place(data.runs_path())
    working.offer(loaded.run.path, "Train it with another seed", partial(offered.second, root, loaded.run), "compare")
    if owned.single(data.runs_path()):
        st.code(f"lossprint app {shlex.quote(str(root))}", language=None, wrap_lines=True)


# ---------------------------------------------------------------------------------------------- the two


def _others(loaded: data.Loaded) -> list[str]:
    """What can be compared with the open run: the folder's other whole runs, and its own further trainings."""
    path = data.runs_path()
    listed = data.list_runs(path) if path else []
    runs = [one.name for one in listed if one.problem is None and one.path.absolute() != loaded.run.path.absolute()]
    seeds = [f"{HERE}{run.name}" for run in loaded.run.members("seed")]
    return runs + seeds + ([FOLDS] if loaded.run.members("fold") else [])


def _name(other: str) -> str:
    """How a choice is called: `this run, seed 1`."""
    if not other.startswith(HERE):
        return other
    kind, _, number = other.removeprefix(HERE).partition("=")
    return f"this run, {kind} {int(number)}" if number.isdigit() else f"this run, {kind}"


def _names(loaded: data.Loaded, other: str) -> tuple[str, str]:
    """What the two are called in few words: the folders, or the seeds of one run."""
    if not other.startswith(HERE):
        return _cut(loaded.run.name), _cut(other)
    own = loaded.run.manifest.get("seed")
    return "this run" if own is None else f"seed {own}", _name(other).removeprefix("this run, ")


def _path(other: str) -> Path:
    listed = {one.name: one.path for one in data.list_runs(data.runs_path())}
    if other not in listed:
        raise LossprintError(f"expected a run called {other}, found none")
    return listed[other]


def _stamp(loaded: data.Loaded, other: str) -> tuple:
    """What says whether the other one has changed: its path and when its run.json was written."""
    if other.startswith(HERE):
        return ()
    return data.load(_path(other)).key


def _pair(loaded: data.Loaded, other: str, stamp: tuple) -> Pair:
    """Both tables. Further trainings have no scores of their own: theirs and those of this one alone are worked out."""
    if other.startswith(HERE):
        name = other.removeprefix(HERE)
        members = loaded.run.members("fold") if other == FOLDS else [loaded.run.member(name)]
        first, second = agreement.training_scores([loaded.run]), agreement.training_scores(members)
        same = True
    else:
        theirs = data.load(Path(stamp[0]))
        first, second = (
            one.scores.assign(path=one.samples["path"].reindex(one.scores.index)) for one in (loaded, theirs)
        )
        same = not agreement.differences(loaded.run.manifest, theirs.run.manifest)
    matched = agreement.match(first, second, same)
    labels = [
        table["label"].astype(object).to_numpy()[rows]
        for table, rows in ((first, matched.first), (second, matched.second))
    ]
    return Pair(first, second, matched, int((labels[0] != labels[1]).sum()))


def _agree(loaded: data.Loaded, other: str, stamp: tuple, score: str) -> Agreement:
    return agreement.agree(score, *data.derived(loaded, _pair, other, stamp).values(score))


def _correlations(loaded: data.Loaded, other: str, stamp: tuple) -> pd.DataFrame:
    pair = data.derived(loaded, _pair, other, stamp)
    rows = [(name, SCORES[name].title, *agreement.rank_correlation(name, *pair.values(name))) for name in pair.scores]
    return pd.DataFrame(rows, columns=["score", "title", "rho", "count"])


def _told_differences(loaded: data.Loaded, other: str, pair: Pair) -> None:
    """Which two these are, and what differs between their datasets."""
    count = len(pair.matched.first)
    if other.startswith(HERE):
        st.caption(
            f"Two trainings of the same run, {parts.plural(count, 'training sample')}. Each is scored by itself; the "
            "run's own label-error ranking puts all of its seeds or folds together."
            + (" Out of fold: by networks that were not trained on the sample." if other == FOLDS else "")
        )
        return
    theirs = data.load(_path(other))
    said = [_about(loaded), _about(theirs)]
    st.caption("  \n".join(said))
    found = agreement.differences(loaded.run.manifest, theirs.run.manifest)
    sizes = len(pair.first), len(pair.second)
    if not found and max(sizes) == count:
        return
    words = [] if found else ["The dataset is the same, the training samples are not."]
    if found:
        words.append("These are not runs of the same dataset, so samples are matched by path.")
    if "source" in found:
        mine, other_source = found["source"]
        words.append(f"Source: {parts.md(mine)} and {parts.md(other_source)}.")
    for which, only in zip(("the first", "the second"), found.get("classes", ((), ()))):
        if only:
            shown = ", ".join(parts.md(name) for name in only[:5]) + (" …" if len(only) > 5 else "")
            words.append(f"Only {which} has the class{'es' * (len(only) > 1)} {shown}.")
    for split, name in parts.SPLITS.items():
        if split in found:
            words.append(f"{name.capitalize()} samples: {found[split][0]:,} and {found[split][1]:,}.")
    if "contents" in found:
        words.append("Paths, labels or splits differ.")
    words.append(
        f"Compared are the **{count:,}** training samples that both have, of {sizes[0]:,} and {sizes[1]:,}"
        + (f"; {pair.relabelled:,} of them have another label." if pair.relabelled else ".")
    )
    st.info(" ".join(words), icon=":material/info:")


def _about(loaded: data.Loaded) -> str:
    asked = loaded.run.manifest["asked"]
    words = [f"model {parts.md(asked['model'])}"] if asked.get("model") else []
    if loaded.run.manifest.get("seed") is not None:
        words.append(f"seed {parts.md(loaded.run.manifest['seed'])}")
    if asked.get("epochs"):
        words.append(f"{parts.md(asked['epochs'])} epochs")
    words.append(parts.plural(len(loaded.scores), "training sample"))
    return f"**{parts.md(loaded.run.name)}**: " + ", ".join(words)


# ---------------------------------------------------------------------------------------------- what they say


def _numbers(found: Agreement, names: tuple[str, str]) -> None:
    sizes = {name: len(table) for name, table in found.sets.items()}
    facts = []
    if sum(sizes.values()):
        facts = [
            ("Both flag", f"{sizes['both']:,}", "Flagged in both trainings"),
            (f"Only {parts.md(names[0])}", f"{sizes['first']:,}", "Flagged in the open run, not in the other"),
            (f"Only {parts.md(names[1])}", f"{sizes['second']:,}", "Flagged in the other one, not in the open run"),
            (
                "Overlap",
                f"{100 * found.jaccard:.0f} %",
                "Of the samples that either flags, those that both do: Jaccard",
            ),
        ]
    if not np.isnan(found.rho):
        facts.append(
            ("Rank correlation", f"{found.rho:.2f}", "Spearman, over all samples: 1 is the same order, 0 no relation")
        )
    if facts:
        grid = st.grid(len(facts), min_column_width=150, gap="small")
        for label, value, meaning in facts:
            grid.metric(label, value, border=True, help=meaning)
    info = SCORES[found.score]
    if found.score in agreement.SEVERITIES:
        st.caption(f"Flagged: a severity over {SUSPECT}, as in the findings.")
    elif info.suspect == "none":
        st.caption(f"{info.title} has no suspect end: nothing is flagged by it.")
    else:
        st.caption(f"Flagged by {info.title}: the {100 * agreement.SHARE:.0f} % at its suspect ({info.suspect}) end.")
    if np.isnan(found.rho):
        st.caption("It is the same for all samples in one of the two, so there is no order to compare.")


def _charts(table: pd.DataFrame, found: Agreement, names: tuple[str, str]) -> None:
    """`table` has the rank correlation of each score."""
    dark = parts.dark()
    grid = st.grid(3, min_column_width=290, gap="medium")
    with grid.cell():
        st.markdown("**Do they order samples alike?**")
        parts.chart(
            charts.correlations(table, dark=dark, chosen=found.score),
            "Rank correlation of each score between the two trainings",
            "compare-scores",
        )
    with grid.cell():
        st.markdown("**How far down the list do they agree?**")
        parts.chart(
            charts.top_agreement(found, dark=dark),
            "Share of the most suspect samples that both trainings name",
            "compare-top",
        )
    with grid.cell():
        st.markdown("**Where does each put a sample?**")
        parts.chart(
            charts.rank_density(found, names=names, dark=dark),
            "Density of samples by their place in either training, most suspect at the lower left",
            "compare-places",
        )
        st.caption("Most suspect at the lower left.")


def _sets(loaded: data.Loaded, pair: Pair, found: Agreement, names: tuple[str, str]) -> None:
    if not any(len(table) for table in found.sets.values()):
        parts.empty("Neither flags anything by this score", "Choose another score above.", "filter_alt_off")
        return

    shown = {"first": parts.md(names[0]), "second": parts.md(names[1])}
    titles = {"both": "Both"} | {name: f"Only {shown[name]}" for name in shown}
    st.subheader("Look at them", anchor=False)
    chosen = st.segmented_control(
        "Show",
        SETS,
        required=True,
        label_visibility="collapsed",
        format_func=lambda name: f"{titles[name]} ({len(found.sets[name]):,})",
        **_in_url("set", SETS, "cpage"),
    )
    table = found.sets[chosen]
    st.caption(WORDS[chosen].format(**shown), help=MEASURED if found.score == "label_error" else None)
    if table.empty:
        st.caption("None.")
        drawer.draw(loaded, [], ())
        return
    samples = pair.first["sample"].to_numpy()[pair.matched.first[table["row"].to_numpy()]]
    slot = st.container()
    number = parts.pages(-(-len(table) // PER_PAGE), "cpage")
    with slot:
        parts.begins("compare-top", number)
    page = slice((number - 1) * PER_PAGE, number * PER_PAGE)
    decided = decide.decided(loaded)
    tiles = [
        parts.tile(
            loaded,
            sample,
            given=loaded.samples.at[sample, "label"],
            suggested=parts.suggestion(loaded, sample) or "",
            note=f"places {row.first:,.0f} and {row.second:,.0f}",
            **decide.badge(decided.get(int(sample))),
        )
        for sample, row in zip(samples[page].tolist(), table.iloc[page].itertuples())
    ]
    with slot:
        parts.tell_missing(tiles)
        gallery(
            tiles,
            key=f"compare-{chosen}",
            label=f"flagged samples of the set {chosen}, most suspect first",
            selected=drawer.opened(),
            on_open=drawer.show,
        )
    st.caption("The places are those in the first and the second training, 1 the most suspect.")
    drawer.draw(loaded, samples.tolist(), ())
