"""The action bar: everything that can be done with a selection, the same under ticks, a lasso, a filter and a group."""

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.shared import decide, parts
from lossprint.app.shared.acting import acts, picked, steps
from lossprint.app.shared.acting.acts import MOST, Selection
from lossprint.audit.export import export

NEW_CLASS = "One of the classes; or type the name of a new one."
WORDS = {"keep": "Keep the label", "relabel": "Relabel", "exclude": "Exclude", "unsure": "Unsure"}


def draw(loaded: data.Loaded, chosen: Selection, table=None, history: pd.DataFrame | None = None) -> None:
    """One line: how many, and what can be done. `table(ids)`: the rows of the CSV, where the page has more columns.

    history: the decisions as the page shows them, where it shows them.
    """
    number = len(chosen.ids)
    if not number:
        return
    history = data.reviews(loaded).history() if history is None else history
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key=f"{chosen.key}_bar"):
        st.markdown(f"**{number:,}** {parts.md(chosen.words)}", width="content")
        if roles.may("reviewer"):
            with st.popover("Decide", icon=":material/checklist:"):
                _decide(loaded, chosen, history)
            with st.popover("Tag", icon=":material/sell:"):
                _tag(loaded, chosen)
            with st.popover("Send to Review", icon=":material/rule:"):
                _send(loaded, chosen)
            with st.popover("More like these", icon=":material/manage_search:"):
                _more(loaded, chosen)
        with st.popover("Take along", icon=":material/download:"):
            _take(loaded, chosen, table)
    sent(loaded)


def ticked(loaded: data.Loaded, key: str) -> Selection | None:
    """What was ticked in the gallery of this key and handed to the bar; None without, or where it is another page's."""
    run, at, samples = st.session_state.get(steps.TICKED, (None, None, []))
    if run != loaded.run.path or at != key or not samples:
        return None
    return Selection(np.asarray(samples, np.int64), "ticked", f"{key}_ticked", "ticked")


def draw_ticked(loaded: data.Loaded, key: str, table=None) -> None:
    """The bar for what was ticked in a gallery, and the way to let it go."""
    chosen = ticked(loaded, key)
    if chosen is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key=f"{key}_ticked-row"):
        draw(loaded, chosen, table)
        st.button("Let go", key=f"{key}_let-go", icon=":material/close:", type="tertiary", on_click=_let_go)


def _let_go() -> None:
    st.session_state.pop(steps.TICKED, None)


def sent(loaded: data.Loaded) -> None:
    """After a queue was sent: the way there."""
    run, name, number = st.session_state.get(acts.SENT, (None, "", 0))
    if run != loaded.run.path or picked.SENT + name not in picked.queues(loaded):
        return
    label = f"Review {parts.md(name)} ({number:,})"
    parts.link("review", label, "rule", {"queue": parts.md(picked.SENT + name)})


def _decide(loaded: data.Loaded, chosen: Selection, history: pd.DataFrame) -> None:
    key, number = chosen.key, len(chosen.ids)
    if number > MOST:
        st.caption(f"At most {MOST:,} decisions are stored in one go: take a narrower filter.")
        return
    able = [name for name in WORDS if loaded.labelled or name != "relabel"]
    word = st.radio("Decision", able, format_func=WORDS.get, key=f"{key}_word", horizontal=True)
    label = None
    if word == "relabel":
        label = st.selectbox("As", decide.labels(loaded), key=f"{key}_new", accept_new_options=True, help=NEW_CLASS)
        label = (label or "").strip() or None
    comment = f"{key}_comment"
    st.text_input("Comment", key=comment, max_chars=decide.LONGEST, placeholder="Why, stored with each decision")
    splits = loaded.samples.loc[chosen.ids, "split"].value_counts()
    told = [f"{count:,} {parts.SPLITS.get(name, parts.md(name))}" for name, count in splits.items() if count]
    st.caption(f"{', '.join(told)}. One undo takes all of them back.")
    st.button(
        f"Store {parts.plural(number, 'decision')}",
        key=f"{key}_store",
        type="primary",
        on_click=acts.decide_all,
        args=(loaded, chosen.ids, word, label, history, comment),
        disabled=word == "relabel" and label is None,
    )


def _tag(loaded: data.Loaded, chosen: Selection) -> None:
    key, tags = f"{chosen.key}_put", data.marks(loaded).tags()
    st.selectbox(
        "Tag",
        list(tags),
        index=None,
        key=key,
        accept_new_options=True,
        placeholder="Choose one, or type a new one",
    )

    def store(remove: bool) -> None:
        acts.tag(loaded, chosen.ids, st.session_state.get(key), remove)

    with st.container(horizontal=True, gap="small"):
        st.button(
            f"Tag {len(chosen.ids):,}",
            key=f"{key}-on",
            type="primary",
            on_click=store,
            args=(False,),
            disabled=not st.session_state.get(key),
        )
        st.button(
            "Take it off",
            key=f"{key}-off",
            on_click=store,
            args=(True,),
            disabled=st.session_state.get(key) not in tags,
        )
    counts = {name: int(np.isin(chosen.ids, samples).sum()) for name, samples in tags.items()}
    lines = [f"{parts.md(name)} ({count:,})" for name, count in counts.items() if count]
    st.caption(f"On them: {', '.join(lines)}" if lines else "None of them has a tag.")


def _send(loaded: data.Loaded, chosen: Selection) -> None:
    if len(chosen.ids) > MOST:
        st.caption(f"A queue holds at most {MOST:,} questions: take a narrower filter.")
        return
    key = f"{chosen.key}_queue"
    st.text_input("Name of the queue", key=key, max_chars=80, placeholder=acts.free_name(loaded, chosen.name))

    def store() -> None:
        acts.send(loaded, chosen.ids, st.session_state.get(key) or acts.free_name(loaded, chosen.name))

    st.button(f"Send {len(chosen.ids):,}", key=f"{key}-send", type="primary", on_click=store)
    st.caption("Everybody finds it in Review, in the order shown here.")
    if len(chosen.ids) <= picked.MOST:
        link = {"queue": picked.QUEUE, "picked": picked.text(chosen.ids)}
        parts.link("review", f"Review these {len(chosen.ids):,} now", "rule", link)


def _more(loaded: data.Loaded, chosen: Selection) -> None:
    key = f"{chosen.key}_alike"
    st.caption("A queue of up to 50 samples that nobody has decided on yet, by the run's own embedding.")
    st.button(
        "More that look like these",
        key=key,
        type="primary",
        on_click=acts.more_like,
        args=(loaded, chosen.ids),
        help=f"Like the first {acts.LIKE} of them, and unlike those that were kept.",
    )
    pairs = acts.confusions(loaded, chosen.ids) if loaded.labelled else []
    if pairs:
        names = {f"{parts.md(given)} that look like {parts.md(other)}": (given, other) for given, other in pairs}
        name = st.selectbox("More of this confusion", list(names), key=f"{key}-pair")
        st.button("More of it", key=f"{key}-of", on_click=acts.more_of, args=(loaded, *names[name]))


def _take(loaded: data.Loaded, chosen: Selection, table) -> None:
    def rows() -> bytes:
        frame = table(chosen.ids) if table is not None else _rows(loaded, chosen.ids)
        return export.csv_text(frame).encode("utf-8")

    roles.download(
        f"Download {parts.plural(len(chosen.ids), 'row')} (CSV)",
        rows,
        "samples.csv",
        "text/csv",
        key=f"{chosen.key}_download",
        on_click="ignore",
    )
    roles.download(
        "As a coreset (CSV)",
        lambda: acts.coreset(loaded, chosen.ids),
        "coreset.csv",
        "text/csv",
        key=f"{chosen.key}_coreset",
        on_click="ignore",
        help="The training samples among them, excluded ones left out, labels as decided: for `lossprint coreset "
        "apply`, or to train on.",
    )


def _rows(loaded: data.Loaded, ids: np.ndarray) -> pd.DataFrame:
    frame = loaded.samples.loc[ids, ["sample", "path", "label", "split"]].astype(object).reset_index(drop=True)
    decided = decide.decided(loaded)
    for name in ("decision", "new_label"):
        frame[name] = [decided.get(one, {}).get(name) for one in ids.tolist()]
    return frame.assign(tags=acts.tags_of(loaded, ids))
