"""The entrypoint of the app: page config, run picker, navigation, and the line seen when something goes wrong."""

import os
import sys
from functools import partial
from importlib import import_module, resources

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from lossprint.app import data, decide, guard, parts
from lossprint.audit.types import LossprintError

RUNS = "LOSSPRINT_RUNS"
LOADED = (
    pd,
    go,
)  # imported here and not lazily by a page: fast clicks ran into half-imported modules in a real browser

# name (its URL), title, icon, section, what the tooltip says
PAGES = (
    ("overview", "Overview", "space_dashboard", "", "What is in the dataset and what to look at first."),
    ("labels", "Mislabeled", "label_off", "Findings", "Samples whose given label the model kept doubting."),
    ("duplicates", "Duplicates", "content_copy", "Findings", "The same or almost the same image more than once."),
    ("outliers", "Outliers", "scatter_plot", "Findings", "Images unlike anything else in the dataset."),
    ("trajectories", "Trajectories", "show_chart", "Evidence", "One sample: its loss print, scores and neighbours."),
    (
        "pairs",
        "Aligned & conflicting",
        "compare_arrows",
        "Evidence",
        "Validation samples that pull with or against one.",
    ),
    ("review", "Review", "rule", "Decide", "One question at a time, by keyboard if you like."),
    ("coreset", "Coreset", "filter_alt", "Decide", "A smaller training set, chosen by a method and a fraction."),
    ("export", "Export", "download", "Decide", "Findings, coreset and cleaned dataset as files."),
)


def main(start: str = "overview") -> None:
    """Draw the app; `start` is the page at the root URL."""
    st.set_page_config(page_title="Lossprint", page_icon=_asset("logo.svg"), layout="wide")
    st.logo(_asset("wordmark.svg"), size="large", icon_image=_asset("logo.svg"))
    pages = {
        name: st.Page(
            partial(_page, name),
            title=title,
            icon=f":material/{icon}:",
            url_path=name,
            default=name == start,
            help=text,
        )
        for name, title, icon, _, text in PAGES
    }
    parts.remember_pages(pages)
    sections: dict[str, list] = {}
    for name, _, _, section, _ in PAGES:
        sections.setdefault(section, []).append(pages[name])
    page = st.navigation(sections, position="sidebar", expanded=True)
    st.session_state["_told_missing"] = False
    with guard.one_line():
        decide.tell()
        loaded = _pick_run()
        st.session_state["_loaded"] = loaded
        _reviewer()
        page.run()


def _page(name: str) -> None:
    import_module(f"lossprint.app.views.{name}").render(st.session_state["_loaded"])


def _asset(name: str) -> str:
    return str(resources.files("lossprint.assets").joinpath(name))


# ---------------------------------------------------------------------------------------------- sidebar


def runs_path() -> str | None:
    """Where the runs are: the environment, or what follows `--` on the command line."""
    return os.environ.get(RUNS) or (sys.argv[1] if len(sys.argv) > 1 else None)


def _pick_run() -> data.Loaded:
    path = runs_path()
    if not path:
        raise LossprintError("expected a run folder, found none: start the app with `lossprint app RUN_OR_FOLDER`")
    listed = data.list_runs(path)
    whole = {one.name: one for one in listed if one.problem is None}
    broken = [one for one in listed if one.problem]
    if not listed:
        raise LossprintError(
            f"expected a run in {path}, found none: make one with `lossprint demo` or `lossprint audit`"
        )
    name = next(iter(whole), None)
    with st.sidebar:
        if len(whole) > 1:
            name = st.selectbox("Run", list(whole), key="run", bind="query-params")
        elif whole:
            st.caption(f"Run **{parts.md(name)}**")
        if broken:
            with st.expander(f"{parts.plural(len(broken), 'run')} cannot be opened", icon=":material/warning:"):
                for one in broken:
                    st.markdown(f"**{parts.md(one.name)}** {parts.md(one.problem)}")
    if name is None:
        raise LossprintError(broken[0].problem)
    return data.load(whole[name].path)


def _reviewer() -> None:
    with st.sidebar:
        st.session_state.setdefault("reviewer", decide.default_reviewer())
        st.text_input(
            "Reviewer",
            key="reviewer",
            persist_state="session",
            max_chars=60,
            icon=":material/person:",
            help="Your decisions are stored under this name.",
        )


if __name__ == "__main__":
    main()
