"""Which sample's drawer the URL opens: what was replaced a moment ago is not asked for again, a step back is."""

import pytest
from app_pages import open_page, said
from helpers import make_run
from streamlit.testing.v1 import AppTest

from lossprint.app.shared import parts


def page() -> None:
    import streamlit as st

    from lossprint.app.shared import drawer

    st.button("Close", on_click=drawer.close)
    st.button("Next", on_click=drawer.show, args=(12,))
    st.button("Other")
    st.markdown(f"open: {drawer.opened()}, again: {drawer.opened()}, url: {st.query_params.get('open')}")


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(parts, "monotonic", lambda: now[0])
    return now


def opened(linked: str | None) -> AppTest:
    app = AppTest.from_function(page)
    if linked:
        app.query_params["open"] = linked
    return app.run()


def press(app: AppTest, button: int, url: str | None = None) -> str:
    """What is open after a click whose URL says that `url` is, by default what the page has written there."""
    if url is not None:
        app.query_params["open"] = url
    app.button[button].click().run()
    assert not app.exception
    return app.markdown[0].value


CLOSE, NEXT, OTHER = range(3)


def test_a_click_on_its_way_does_not_open_what_was_closed(clock):
    app = opened("11")
    assert app.markdown[0].value == "open: 11, again: 11, url: 11"
    assert press(app, CLOSE) == "open: None, again: None, url: None"
    clock[0] += 1.9
    assert press(app, OTHER, "11") == "open: None, again: None, url: None"
    clock[0] += 2.0
    assert press(app, OTHER, "11") == "open: 11, again: 11, url: 11", "a step back in the browser"


def test_nor_does_it_go_back_to_the_sample_before(clock):
    app = opened("11")
    assert press(app, NEXT) == "open: 12, again: 12, url: 12"
    assert press(app, OTHER, "11") == "open: 12, again: 12, url: 12"
    assert press(app, OTHER, "13") == "open: 13, again: 13, url: 13", "another sample is another link"


def test_what_was_closed_can_be_opened_again_at_once(clock):
    app = opened("12")
    assert press(app, CLOSE) == "open: None, again: None, url: None"
    assert press(app, NEXT) == "open: 12, again: 12, url: 12"


@pytest.mark.parametrize("text", ["", "x", "-1", "1" * 19, "١"])
def test_what_is_no_sample_opens_nothing(clock, text):
    assert opened(text).markdown[0].value.startswith("open: None")


def test_a_link_to_a_sample_or_a_class_that_is_not_there_says_so(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    app = open_page("labels", run.path, monkeypatch, open="999999")
    assert "There is no sample **999999** in this run: the link shows something else." in said(app)
    assert "999999" not in said(app.run())
    assert "There is no sample **x**" in said(open_page("overview", run.path, monkeypatch, open="x"))
    assert "There is no question **label\\_error\\:77**" in said(
        open_page("review", run.path, monkeypatch, finding="label_error:77")
    )
    app = open_page("sample", run.path, monkeypatch, sample="999999")
    assert "No sample has “999999”" in said(app) and "Sample 4" not in said(app), "another sample is no answer"
    monkeypatch.setattr(parts.st, "query_params", {"class": "*no*such"})
    warnings = []
    monkeypatch.setattr(parts.st, "warning", lambda text, **_: warnings.append(text))
    parts.dead_link("class", ["bag", "coat"], "class")
    parts.dead_link("given", ["bag"], "class")
    monkeypatch.setitem(parts.st.query_params, "class", "coat")
    parts.dead_link("class", ["bag", "coat"], "class")
    assert warnings == ["There is no class **\\*no\\*such** in this run: the link shows something else."]
