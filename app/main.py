"""The entrypoint of the app: page config, run picker, navigation, and the line seen when something goes wrong."""

from functools import partial
from importlib import import_module, resources

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from lossprint.app import data, signin
from lossprint.app.access import roles
from lossprint.app.shared import decide, drawer, guard, identity, parts, place
from lossprint.audit.types import KIND_WORDS, LossprintError

NO_RUN = "_no_run"  # a run that a link asked for and that is not there
# Streamlit writes white on the primary colour. One that can be read on a dark page is too light for that.
DARK_BUTTONS = (
    '[data-testid^="stBaseButton-primary"], [data-testid="stMultiSelect"] span[title] { color: #0f151b !important }'
)
# Side by side and scrolled sideways: stacked they would push the first picture off a telephone's screen.
NARROW = (
    '@media (max-width: 640px) { [class*="filters-row"] [data-testid="stHorizontalBlock"] '
    "{ flex-wrap: nowrap; overflow-x: auto } "
    '[class*="filters-row"] [data-testid="stColumn"] { min-width: 150px; flex: 0 0 150px } }'
    '[class*="st-key-begins-"] { position: absolute }'
)
LOADED = (
    pd,
    go,
)  # imported here and not lazily by a page: fast clicks ran into half-imported modules in a real browser

# name (its URL), title, icon, section, what the tooltip says
PAGES = (
    ("overview", "Overview", "space_dashboard", "", "What is in the dataset and what to look at first."),
    ("explore", "Explore", "grid_view", "", "Every sample of every split: find, sort, group and decide."),
    ("labels", KIND_WORDS["label_error"][0], "label_off", "Findings", "Given labels that the model kept doubting."),
    ("duplicates", "Duplicates", "content_copy", "Findings", "The same or almost the same sample more than once."),
    ("outliers", KIND_WORDS["outlier"][0], "scatter_plot", "Findings", "Samples unlike anything else in the dataset."),
    ("quality", KIND_WORDS["quality"][0], "tonality", "Findings", "Images that are dark, blurred, or of another size."),
    ("sequences", "Sequences", "movie", "Findings", "Videos over time: spans with a wrong label or out of order."),
    ("classes", "Classes", "category", "Findings", "How each class is doing, and what it is confused with."),
    ("map", "Triage map", "bubble_chart", "Evidence", "Two scores at once: wrong, hard, redundant, aligned."),
    ("prints", "Loss prints", "show_chart", "Evidence", "The loss trajectories of many samples at a glance."),
    ("pairs", "Aligned & conflicting", "compare_arrows", "Evidence", "Samples that pull with or against one."),
    ("sample", "Sample", "image_search", "Evidence", "One sample, whole story: why it is flagged."),
    ("review", "Review", "rule", "Decide", "One question at a time, by keyboard if you like."),
    ("stop", "When to stop", "flag", "Decide", "What the review found, and what is left to be found."),
    ("history", "History", "history", "Decide", "Every decision: who, when and what; any step is taken back here."),
    ("reviewers", "Reviewers", "group", "Team", "Who reviews what, how far each is, and how well they agree."),
    ("disagreements", "Disagreements", "forum", "Team", "Where reviewers differ, to be settled one by one."),
    ("coreset", "Coreset", "filter_alt", "Results", "A smaller training set, chosen by a method and a fraction."),
    ("export", "Export", "download", "Results", "Findings, coreset and cleaned dataset as files."),
    ("loop", "Before & after", "published_with_changes", "Results", "Whether the cleaned data trains a better model."),
    ("compare", "Compare runs", "difference", "Results", "Two seeds or two models: where they agree."),
    ("help", "Help", "help", "Results", "What each score means, and when not to trust it."),
)


def main(start: str = "overview") -> None:
    """Draw the app; `start` is the page at the root URL."""
    st.set_page_config(page_title="Lossprint", page_icon=_asset("logo.svg"), layout="wide")
    st.html(f"<style>{NARROW}</style>")
    if parts.dark():
        st.html(f"<style>{DARK_BUTTONS}</style>")
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
    shut = signin.shut()
    page = st.navigation(sections, position="hidden" if shut else "sidebar", expanded=True)
    if shut:
        with guard.one_line():
            signin.draw()
        return
    signin.banner()
    if roles.asked():
        with st.sidebar:
            signin.user()
    st.session_state["_told_missing"] = False
    st.session_state[drawer.DRAWN] = False
    with guard.one_line():
        st.session_state[decide.PAGE] = page.title
        decide.tell()
        loaded = _pick_run()
        st.session_state["_loaded"] = loaded
        _reviewer(loaded)
        place.ask(loaded)
        drawer.check(loaded)
        page.run()
        drawer.draw(loaded, [])


def _page(name: str) -> None:
    """Draw a page: a module of views/, or page.py in a folder there."""
    page = import_module(f"lossprint.app.views.{name}")
    if not hasattr(page, "render"):
        page = import_module(f"{page.__name__}.page")
    page.render(st.session_state["_loaded"])


def _asset(name: str) -> str:
    return str(resources.files("lossprint.assets").joinpath(name))


# ---------------------------------------------------------------------------------------------- sidebar


def _pick_run() -> data.Loaded:
    path = data.runs_path()
    if not path:
        raise LossprintError("expected a run folder, found none: start the app with `lossprint app RUN_OR_FOLDER`")
    listed = data.list_runs(path)
    whole = {run.name: run for run in listed if run.problem is None}
    broken = [run for run in listed if run.problem]
    if not listed:
        raise LossprintError(
            f"expected a run in {path}, found none: make one with `lossprint demo` or `lossprint audit`"
        )
    if not whole:
        _list_broken(broken)
        raise LossprintError(broken[0].problem)
    name = _choose_run(list(whole))
    _list_broken(broken)
    return data.load(whole[name].path)


def _choose_run(names: list[str]) -> str:
    """The run that the URL names or that was chosen; the URL names it from then on, so that every link can be sent."""
    link = parts.url_asks("run")
    if link is not None:
        st.session_state[NO_RUN] = None if link in names else link
        if link in names:
            st.session_state["run"] = link
    elif "run" not in st.query_params:  # gone on to another page
        _found()
    if st.session_state.get("run") not in names:
        st.session_state["run"] = names[0]
    name = st.session_state["run"]
    with st.sidebar:
        if len(names) > 1:
            name = st.selectbox("Run", names, key="run", persist_state="session", on_change=_found)
        else:
            st.caption(f"Run **{parts.md(name)}**")
    if st.session_state.get(NO_RUN):
        st.warning(
            f"There is no run **{parts.md(st.session_state[NO_RUN])}** here, or it cannot be opened: "
            f"this is **{parts.md(name)}**.",
            icon=":material/warning:",
        )
    parts.write_url("run", name)
    return name


def _found() -> None:
    st.session_state[NO_RUN] = None


def _list_broken(broken: list[data.Listed]) -> None:
    if not broken:
        return
    with st.sidebar, st.expander(f"{parts.plural(len(broken), 'run')} cannot be opened", icon=":material/warning:"):
        for run in broken:
            st.markdown(f"**{parts.md(run.name)}** {parts.md(run.problem)}")


def _reviewer(loaded: data.Loaded) -> None:
    """Who decides: the signed-in user where there is a login, else a name that is typed once and remembered."""
    if roles.asked():
        st.session_state["reviewer"] = identity.signed_in()
        return
    if not (st.session_state.get("reviewer") or "").strip():
        st.session_state["reviewer"] = identity.remembered() or decide.default_reviewer(loaded)
    with st.sidebar:
        name = st.text_input(
            "Reviewer",
            key="reviewer",
            persist_state="session",
            max_chars=60,
            on_change=_named,
            icon=":material/person:",
            help="Your decisions are stored under this name. This browser remembers it.",
        )
        if identity.known():
            identity.remember(name)


def _named() -> None:
    identity.name_given()
    decide.forget_stored()


if __name__ == "__main__":
    main()
