"""Seven doors: every page stands behind one, its tabs lead on, and each address that ever was leads to its place."""

import asyncio

import pytest
from app_pages import NAMES, assert_whole, open_page
from helpers import in_a_thread, make_run

from lossprint.app import doors
from lossprint.app.access import address, gate
from lossprint.audit.review.reviews import open_reviews

WERE = sorted(NAMES)  # the addresses of the pages before there were doors: each is still one, but for the first page


def words(app) -> list[str]:
    return [link.proto.label for link in app.get("page_link")]


def test_there_are_seven_doors_and_each_page_stands_behind_one():
    assert [door.title for door in doors.DOORS] == [
        "Overview",
        "Explore",
        "Findings",
        "Review",
        "Team",
        "Results",
        "Help",
    ]
    assert len(WERE) >= 21 and set(doors.TABS) == set(WERE)
    assert {doors.door_of(name, team).title for name in WERE for team in (False, True)} == {
        door.title for door in doors.DOORS
    }


async def went(path: str, query: str) -> tuple[int, str]:
    """Status and Location of what the gate answers, 0 where the request goes on to Streamlit."""
    sent = []

    async def within(scope, receive, send) -> None:
        sent.append({"status": 0, "headers": []})

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    await gate.Gate(within, hosts=[])(scope, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]).get(b"location", b"").decode()


@pytest.mark.parametrize("name", [*WERE, *(name for name in address.MOVED if name not in WERE)])
def test_each_old_address_leads_to_its_place_and_keeps_what_it_asks(name):
    query = "run=a%20b&given=coat%2Fshirt&open=7"
    status, place = in_a_thread(lambda: asyncio.run(went(f"/{name}", query)))
    if name in address.MOVED:
        new = address.MOVED[name]
        assert (status, place) == (307, f"./{new}?{query}")
        assert new in doors.TABS or new == ""
    else:
        assert status == 0 and name in doors.TABS
    assert in_a_thread(lambda: asyncio.run(went(f"/{name}x", query)))[0] == 0


@pytest.mark.parametrize("name", ["labels", "pairs", "stop", "loop"])
def test_a_page_shows_the_tabs_of_its_door(tmp_path, monkeypatch, name):
    app = open_page(name, make_run(tmp_path).path, monkeypatch)
    assert_whole(app)
    said = words(app)
    tabs = [tab for tab in doors.door_of(name, team=False).tabs if tab.where not in ("videos", "team")]
    assert said[: len(tabs)] == [tab.word or tab.title for tab in tabs]
    assert "Sequences" not in said


def test_the_team_has_a_door_from_the_second_reviewer_on(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    with open_reviews(run) as kept:
        kept.add(finding="label_error:4", sample=4, decision="keep", reviewer="ann")
    app = open_page("reviewers", run.path, monkeypatch)
    assert_whole(app)
    assert words(app)[:4] == ["Questions", "When to stop", "History", "Share it out"]
    with open_reviews(run) as kept:
        kept.add(finding="label_error:4", sample=4, decision="exclude", reviewer="bob")
    app = app.run()
    assert_whole(app)
    assert words(app)[:2] == ["Progress & agreement", "Disagreements"]
