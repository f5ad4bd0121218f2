"""The seven doors of the app, and the tabs behind each: which page stands where, under which address and name."""

from dataclasses import dataclass
from functools import partial

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.audit.runs import beside
from lossprint.audit.types import KIND_WORDS


@dataclass(frozen=True)
class Tab:
    """One page. `name` is its address and its module of views/, `title` its heading, `word` what its tab says.

    `where` says of which runs it is a part: `videos`, `team` (from two reviewers on), `alone` (before); empty: all.
    `within`: the tab below which it stands, in a second row.
    """

    name: str
    title: str
    icon: str
    text: str
    word: str = ""
    where: str = ""
    within: str = ""


@dataclass(frozen=True)
class Door:
    """An entry of the sidebar. Its first tab is what it opens."""

    title: str
    icon: str
    tabs: tuple[Tab, ...]


FINDINGS = (  # a further kind of finding is one line here and a module of views/
    Tab("labels", KIND_WORDS["label_error"][0], "label_off", "Given labels that the model kept doubting."),
    Tab("duplicates", "Duplicates", "content_copy", "The same or almost the same sample more than once."),
    Tab("outliers", KIND_WORDS["outlier"][0], "scatter_plot", "Samples unlike anything else in the dataset."),
    Tab("quality", KIND_WORDS["quality"][0], "tonality", "Images that are dark, blurred, or of another size."),
    Tab("sequences", "Sequences", "movie", "Videos: spans with a wrong label or out of order.", where="videos"),
    Tab("batches", "New batches", "playlist_add_check", "Whether new images belong to this data."),
)
TEAM = "Who reviews what, how far each is, and how well they agree."
DOORS = (
    Door(
        "Overview",
        "space_dashboard",
        (
            Tab(
                "overview",
                "Overview",
                "space_dashboard",
                "What is in the dataset, and what to look at first.",
            ),
        ),
    ),
    Door(
        "Explore",
        "grid_view",
        (
            Tab(
                "explore",
                "Explore",
                "grid_view",
                "Every sample of every split: find, sort, group and decide.",
                word="All samples",
            ),
            Tab("map", "Triage map", "bubble_chart", "Two scores at once: late, doubted, redundant, aligned."),
            Tab("prints", "Loss prints", "show_chart", "The loss trajectories of many samples at a glance."),
            Tab("classes", "Classes", "category", "How each class is doing, and what it is confused with."),
            Tab("sample", "Sample", "image_search", "One sample, whole story: why it is flagged.", word="One sample"),
            Tab("sample", "Sample", "image_search", "Why it is flagged.", word="Its story", within="sample"),
            Tab(
                "pairs",
                "Aligned & conflicting",
                "compare_arrows",
                "Samples that pull with or against one.",
                within="sample",
            ),
        ),
    ),
    Door("Findings", "label_off", FINDINGS),
    Door(
        "Review",
        "rule",
        (
            Tab("review", "Review", "rule", "One question at a time, by keyboard if you like.", word="Questions"),
            Tab("stop", "When to stop", "flag", "What the review found, and what is left to be found."),
            Tab("history", "History", "history", "Every decision: who, when and what; any step is taken back here."),
            Tab("reviewers", "Reviewers", "group", TEAM, word="Share it out", where="alone"),
        ),
    ),
    Door(
        "Team",
        "group",
        (
            Tab("reviewers", "Reviewers", "group", TEAM, word="Progress & agreement", where="team"),
            Tab("disagreements", "Disagreements", "forum", "Where reviewers differ, to be settled one by one."),
            Tab("annotators", "Annotators", "how_to_vote", "Who labels how well, and what their votes come to."),
        ),
    ),
    Door(
        "Results",
        "download",
        (
            Tab("export", "Export", "download", "Findings, coreset and cleaned dataset as files."),
            Tab("coreset", "Coreset", "filter_alt", "A smaller training set, chosen by a method and a fraction."),
            Tab("exposure", "Exposure", "visibility", "Which training samples a model trained so would give away."),
            Tab("loop", "Before & after", "published_with_changes", "Whether the cleaned data trains a better model."),
            Tab("compare", "Compare runs", "difference", "Two seeds or two models: where they agree."),
            Tab("runs", "Runs & jobs", "inventory_2", "The runs of this folder, what is at work, and a new audit."),
        ),
    ),
    Door("Help", "help", (Tab("help", "Help", "help", "What each score means, and when not to trust it."),)),
)
TABS = {tab.name: tab for door in DOORS for tab in reversed(door.tabs)}
HOME = "overview"


def has_team(loaded: data.Loaded) -> bool:
    """Whether two reviewers or more have answered in a run, or were handed questions; or annotators have voted."""
    if beside.consensus_stamp(loaded.run):
        return True
    kept = data.reviews(loaded)
    return len({*kept.assignments()["reviewer"].astype(str), *kept.history()["reviewer"].astype(str)}) > 1


def door_of(name: str, team: bool) -> Door:
    """The door behind which a page stands."""
    return next(door for door in DOORS if any(tab.name == name and _stands(tab, team) for tab in door.tabs))


def _stands(tab: Tab, team: bool) -> bool:
    return tab.where != ("alone" if team else "team")


def pages(draw, start: str, team: bool) -> dict[str, st.Page]:
    """A page for each address, by name: the first tab of each door in the navigation, the others reached from there.

    `draw(name)` draws one; `start` is the page at the root of the site.
    """
    first = {door.tabs[0].name: door for door in DOORS}
    made = {}
    for name, tab in TABS.items():
        door = first.get(name)
        hidden = door is None or (door.title == "Team" and not team)
        made[name] = st.Page(
            partial(draw, name),
            title=tab.title if hidden else door.title,
            icon=f":material/{door.icon if door else tab.icon}:",
            url_path=name if name != HOME else "home",  # /overview is an old address, which the server sends on
            default=name == start,
            visibility="hidden" if hidden else "visible",
            help=None if name == "runs" else tab.text,  # a tooltip would cover the box of runs
        )
    return made


def tabs(loaded: data.Loaded, name: str, team: bool) -> None:
    """The row of tabs of the door behind which a page stands, as links; a second row below a tab that has pages."""
    door = door_of(name, team)
    current = TABS[name].within or name
    shown = [tab for tab in door.tabs if _stands(tab, team)]
    if data.videos(loaded) is None:
        shown = [tab for tab in shown if tab.where != "videos" or tab.name == name]
    _row("tabs", [tab for tab in shown if not tab.within])
    _row("tabs-within", [tab for tab in shown if tab.within and tab.within == current])
    st.html(f"<style>{_marks(door.tabs[0].name, current, name)}</style>")


def _marks(first: str, current: str, name: str) -> str:
    """CSS that marks the door and the tabs in use: Streamlit marks links to the page itself alone."""
    rules = [
        f'[class*="st-key-tabs"] a[href^="{tab}?"] {{ box-shadow: inset 0 -2px 0 currentColor; font-weight: 600 }}'
        for tab in (current, name)
    ]
    if name != first:
        rules.append(
            f'[data-testid="stSidebarNavLink"][href$="/{first}"] '
            "{ background: color-mix(in srgb, currentColor 12%, transparent); font-weight: 600 }"
        )
    return " ".join(rules)


def _row(key: str, row: list[Tab]) -> None:
    if len(row) < 2:
        return
    sample = st.session_state.get("sample") if key == "tabs-within" else None
    with st.container(horizontal=True, gap="small", key=key):
        for tab in row:
            parts.link(tab.name, tab.word or tab.title, tab.icon, {"sample": sample} if sample else None)
