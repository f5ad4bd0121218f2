"""Image quality: which images look unlike the rest, and whether their looks give the classes away."""

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.shared import browse, parts
from lossprint.audit.findings import quality
from lossprint.audit.types import KIND_WORDS

ALL = "All issues"
MOST = 6  # sentences on what tells a class


def render(loaded: data.Loaded) -> None:
    question = "Which images look unlike the rest: too dark, blurred, of another size? Their labels may well be right."
    parts.header(loaded.media.worded(KIND_WORDS["quality"][0]), loaded.media.worded(question))
    table = data.derived(loaded, _table)
    if table is None:
        why = "Texts have no look." if loaded.media.noun == "text" else "An audit of them looks."
        parts.empty("Not looked at", f"This run does not say how its {loaded.noun}s look. {why}", "info")
        return
    _telling(data.derived(loaded, _tellings))
    found = loaded.of_kind("quality")
    if found.empty:
        parts.empty("No image stands out", "Brightness, sharpness, grey levels, size and colour are alike in all.")
        return
    issues = data.derived(loaded, _issues)
    counts = issues.value_counts()
    names = {ALL: None} | {f"{quality.WORDS[name][0]} ({count:,})": name for name, count in counts.items()}
    wanted = st.selectbox(
        "Issue", list(names), key="q_issue", label_visibility="collapsed", width=260, bind="query-params"
    )
    name = names.get(wanted)
    only = None if name is None else frozenset(issues.index[issues == name].tolist())
    if name is not None:
        st.caption(f"An image is listed here because {quality.WORDS[name][1]}.")
    browse.findings_gallery(loaded, "quality", prefix="q_", suggestions=False, only=only)


def _table(loaded: data.Loaded) -> pd.DataFrame | None:
    return loaded.run.quality()


def _issues(loaded: data.Loaded) -> pd.Series:
    """The issue that stands for each flagged sample, by its id."""
    flagged = quality.flagged(data.derived(loaded, _table)).set_index("sample")["issue"]
    return flagged[flagged.index.isin(loaded.of_kind("quality")["sample"])]


def _tellings(loaded: data.Loaded) -> list[quality.Telling]:
    table = data.derived(loaded, _table)
    if table is None or not loaded.labelled:
        return []
    samples = loaded.samples
    return quality.telling(table, samples.loc[samples["split"] == "train", "label"])


def _telling(tellings: list[quality.Telling]) -> None:
    """What a network may have learnt instead of the classes."""
    if not tellings:
        return
    lines = [f"- {quality.sentence(one, parts.md)}" for one in tellings[:MOST]]
    rest = len(tellings) - MOST
    lines += [f"- and {parts.plural(rest, 'more')}"] if rest > 0 else []
    st.warning(
        "How an image looks tells some classes without a look at what it shows. If that comes from how the images were "
        "taken, a network may have learnt it in place of the class:\n\n" + "\n".join(lines),
        icon=":material/lightbulb:",
    )
