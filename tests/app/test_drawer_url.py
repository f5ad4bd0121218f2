"""Which sample's drawer the URL opens: what was replaced a moment ago is not asked for again, a step back is."""

import pytest
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
