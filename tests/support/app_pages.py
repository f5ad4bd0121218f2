"""Pages of the app in this process, and what they say."""

from streamlit.testing.v1 import AppTest

from lossprint.app import main

NAMES = [page[0] for page in main.PAGES]


def open_page(name: str, runs, monkeypatch, **params) -> AppTest:
    monkeypatch.setenv("LOSSPRINT_RUNS", str(runs))
    app = AppTest.from_string(f"from lossprint.app import main\nmain.main({name!r})", default_timeout=30)
    for key, value in {"reviewer": "tester", **params}.items():
        if key in ("open", "finding"):
            app.query_params[key] = value
        else:  # AppTest does not fill a widget that is bound to the URL; test_browser.py opens real links
            app.session_state[key] = value
    return app.run()


def said(app: AppTest) -> str:
    parts = [*app.title, *app.markdown, *app.caption, *app.error, *app.warning, *app.subheader]
    return "\n".join(str(element.value) for element in parts)


def assert_whole(app: AppTest) -> None:
    assert not app.exception
    assert [error.value for error in app.error] == []
