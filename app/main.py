"""The entrypoint of the app: page config, run picker, navigation, and the line seen when something goes wrong."""

from importlib import import_module, resources

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from lossprint.app import data, doors, search, signin
from lossprint.app.access import owned, roles
from lossprint.app.shared import decide, drawer, guard, identity, parts, place
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import jobs

TEAM = "_team"  # whether the navigation shows the door of the team
NO_RUN = "_no_run"  # a run that a link asked for and that is not there
TABS = (
    '[class*="st-key-tabs"] { flex-wrap: nowrap; overflow-x: auto; border-bottom: 1px solid #8884; gap: .25rem }'
    '[class*="st-key-tabs"] a { white-space: nowrap; border-radius: 6px 6px 0 0; padding-block: .3rem }'
    '[data-testid="stMain"] h1 { padding-block: .25rem }'
    '[class*="st-key-begins-"] { position: absolute }'
)
# Streamlit writes white on the primary colour. One that can be read on a dark page is too light for that.
DARK_BUTTONS = (
    '[data-testid^="stBaseButton-primary"], [data-testid="stMultiSelect"] span[title] { color: #0f151b !important }'
)
# Side by side and scrolled sideways: stacked they would push the first picture off a telephone's screen.
STRIPS = (
    ':is(.st-key-d-filters-strip, .st-key-d-policy-strip, [class*="tools-strip"], [class$="_bar"], [class*="_bar "])'
)
NARROW = (
    '@media (max-width: 640px) { [class*="filters-row"] [data-testid="stHorizontalBlock"] '
    "{ flex-wrap: nowrap; overflow-x: auto } "
    '[class*="filters-row"] [data-testid="stColumn"] { min-width: 150px; flex: 0 0 150px } '
    f"{STRIPS} {{ flex-wrap: nowrap; overflow-x: auto }} "
    f"{STRIPS} > * {{ flex: 0 0 auto; width: max-content }} "
    ".st-key-alike-pairs { display: none } }"
)
LOADED = (
    pd,
    go,
)  # imported here and not lazily by a page: fast clicks ran into half-imported modules in a real browser

# name (its URL), title, icon, door, what the tooltip says
PAGES = tuple(
    (tab.name, tab.title, door.icon, door.title, tab.text)
    for door in doors.DOORS
    for tab in door.tabs
    if doors.TABS[tab.name] is tab
)


def main(start: str = "overview") -> None:
    """Draw the app; `start` is the page at the root URL."""
    st.set_page_config(page_title="Lossprint", page_icon=_asset("logo.svg"), layout="wide")
    st.html(f"<style>{TABS}{NARROW}{search.STYLE}</style>")
    if parts.dark():
        st.html(f"<style>{DARK_BUTTONS}</style>")
    st.logo(_asset("wordmark.svg"), size="large", icon_image=_asset("logo.svg"))
    pages = doors.pages(_page, start, team=bool(st.session_state.get(TEAM)))
    parts.remember_pages(pages)
    shut = signin.shut()
    page = st.navigation(list(pages.values()), position="hidden" if shut else "sidebar", expanded=True)
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
        name = next(name for name, one in pages.items() if one is page)
        st.session_state[decide.PAGE] = doors.TABS[name].title
        decide.tell()
        loaded = _pick_run()
        st.session_state["_loaded"] = loaded
        if loaded is None:  # nothing to show yet: the page that makes something
            st.navigation(list(pages.values()), position="hidden")
            _page("runs")
            return
        team = doors.has_team(loaded)
        if team != st.session_state.get(TEAM, False):  # the door appears with the second reviewer
            st.session_state[TEAM] = team
            pages = doors.pages(_page, start, team)
            parts.remember_pages(pages)
            page = st.navigation(list(pages.values()), expanded=True)
        _reviewer()
        place.ask(loaded)
        drawer.check(loaded)
        doors.tabs(loaded, name, team)
        if search.box(loaded, name):
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


def _pick_run() -> data.Loaded | None:
    """The run to show; None where the served folder holds none that can be opened."""
    path = data.runs_path()
    if not path:
        raise LossprintError("expected a run folder, found none: start the app with `lossprint app RUN_OR_FOLDER`")
    listed = data.list_runs(path)
    whole = {run.name: run for run in listed if run.problem is None}
    broken = [run for run in listed if run.problem]
    if not whole:
        _list_broken(broken)
        if owned.single(path):
            raise LossprintError(broken[0].problem)
        if broken:
            st.error(parts.md(broken[0].problem), icon=":material/error:")
        return None
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
        at_work = sum(jobs.state(job) == jobs.WORKING for job in owned.jobs_of(data.runs_path()))
        parts.link("runs", f"Runs and jobs ({at_work} at work)" if at_work else "Runs and jobs", "inventory_2")
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


def _reviewer() -> None:
    """Who decides: the signed-in user where there is a login, else a name that is typed once and remembered."""
    if roles.asked():
        st.session_state["reviewer"] = identity.signed_in()
        return
    if not (st.session_state.get("reviewer") or "").strip():
        st.session_state["reviewer"] = identity.remembered() or ""
    with st.sidebar:
        name = st.text_input(
            "Reviewer",
            key="reviewer",
            persist_state="session",
            max_chars=60,
            on_change=_named,
            icon=":material/person:",
            placeholder="asked before you decide",
            help="Your decisions are stored under this name. This browser remembers it.",
        )
        if identity.known():
            identity.remember(name)


def _named() -> None:
    identity.name_given()
    decide.forget_stored()


if __name__ == "__main__":
    main()
