"""What the browser tests share: runs to show, the server, a watched page, and how to wait for it."""

import io
import os
import re
import shutil
import socket
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from helpers import free_port, make_run
from processes import warm_server

from lossprint.app import doors
from lossprint.app.shared import identity
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.types import Finding

FLAGS = [
    f"--{flag}"
    for flag in (
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        # A page lives for seconds: what compiles it better or draws it elsewhere costs more than it gives.
        "in-process-gpu",
        "enable-features=NetworkServiceInProcess",
        "js-flags=--no-opt --max-lazy --no-flush-bytecode",
        # One process for all pages, which keeps what it has compiled: a quarter of all that Chromium computes.
        "process-per-site",
        "renderer-process-limit=1",
    )
]
# A page in motion is drawn 60 times a second: a tenth of all that a browser's test computes.
STILL = """document.addEventListener('DOMContentLoaded', () => {
    const style = document.createElement('style');
    style.textContent = '*, *::before, *::after { animation-duration: 0s !important; animation-delay: 0s !important;'
        + ' animation-iteration-count: 1 !important; transition-duration: 0s !important }';
    document.head.append(style);
});"""
HOSTILE = '<img src=x onerror="window.hacked=1">'
# Streamlit's page looks for its server below the path of a deep link first, and finds it at the root afterwards.
PROBE = re.compile(r"/[a-z]+/_stcore/(health|host-config)$")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(os.environ.get("LOSSPRINT_NO_BROWSER") == "1", reason="LOSSPRINT_NO_BROWSER=1"),
]


def in_browser(test):
    """Mark one test, where not all of its file need a browser."""
    for mark in MARKS:
        test = mark(test)
    return test


PAGES = {tab.title: name for name, tab in doors.TABS.items() if name not in (doors.HOME, "sequences")}
WAIT = 20_000


def flag_many(run: Run) -> None:
    """Suspicious labels on thirty training samples, so that a gallery has two pages, beside two duplicate groups."""
    samples, scores = run.samples(), run.scores()
    classes = run.classes
    found = []
    for sample in range(10, 40):
        given = samples.loc[samples["sample"] == sample, "label"].item()
        other = classes[(classes.index(given) + 1) % len(classes)]
        found.append(Finding("label_error", (sample,), 0.99 - sample / 100, other))
    found += [Finding("duplicate", (3, 0), 1.0), Finding("near_duplicate", (6, 2), 0.95), Finding("outlier", (5,), 0.8)]
    run.write_findings(found, samples)
    run.write_scores(scores)


def usual_port() -> int:
    """The same for one server after another, unless something else has it: what Chromium has compiled goes by URL."""
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", first_port()))
        return first_port()
    return free_port()


first_port = cache(free_port)


@contextmanager
def serving(path: Path, port: int | None = None):
    """The URL of the app on a run or a folder of runs; the program as it stands, in a process that is warm."""
    port = port or usual_port()
    url = f"http://127.0.0.1:{port}"
    options = [str(path), "--port", str(port), "--no-browser"]
    with tempfile.NamedTemporaryFile("w+") as log, warm_server(options, url, log):
        yield url


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with the runs `plain`, `hostile` (labels that are markup) and `cut` (half written)."""
    place = tmp_path_factory.mktemp("browser")
    folder = place / "runs"
    folder.mkdir()
    labels = {"plain": ("coat", "shirt"), "hostile": (HOSTILE, "[a](javascript:alert(1)) $x$ *b*"), "cut": ("a", "b")}
    for name, classes in labels.items():
        run = make_run(place / name, classes=classes, kind="folder", train=30, held_out=6, done=name != "cut")
        if name != "cut":
            flag_many(run)
        run.path.rename(folder / name)
    return folder


@pytest.fixture(scope="module")
def base(runs):
    with serving(runs) as url:
        yield url


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import Error, sync_playwright

    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = os.environ.get("LOSSPRINT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            pytest.fail(
                f"no Chromium could be started ({str(error).splitlines()[0]}): install one (`apt install chromium`, or "
                "`playwright install chromium`), name it in LOSSPRINT_CHROMIUM, or set LOSSPRINT_NO_BROWSER=1"
            )
        yield browser
        AT_REST.clear()
        browser.close()


VIEWPORT = {"width": 1440, "height": 900}
AT_REST = []  # contexts without a page but the empty one that keeps the process, with what was downloaded and compiled


@contextmanager
def watched(chromium, *, named=True, viewport=None, color_scheme="light"):
    """A page whose console errors, page errors, Streamlit exception boxes and requests elsewhere fail the test.

    In a context of its own, of which nothing is left for the next one but what the page has downloaded. `named`: the
    browser knows who decides.
    """
    place = AT_REST.pop() if AT_REST else _context(chromium)
    if named:
        place.add_cookies([{"name": identity.COOKIE, "value": "tester", "url": "http://127.0.0.1"}])
    page = place.new_page()
    page.set_viewport_size(viewport or VIEWPORT)
    page.emulate_media(color_scheme=color_scheme)
    page.add_init_script(STILL)
    page.set_default_timeout(WAIT)
    wrong, elsewhere = [], []

    def asked(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("localhost", "127.0.0.1"):
            elsewhere.append(url)

    def console(message) -> None:
        if message.type == "error" and not PROBE.search(message.location.get("url", "")):
            wrong.append(f"{message.text} {message.location.get('url', '')}")

    page.on("request", lambda request: asked(request.url))
    page.on("websocket", lambda socket: asked(socket.url))
    page.on("console", console)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        yield page
        assert page.get_by_test_id("stException").count() == 0
        assert "could not be shown" not in page.inner_text("body")
        assert not elsewhere, f"asked another machine: {elsewhere}"
        assert not wrong, wrong
    finally:
        if page.url.startswith("http"):
            page.evaluate("localStorage.clear()")
        page.close()
        place.clear_cookies()
        AT_REST.append(place)


def _context(chromium):
    place = chromium.new_context(viewport=VIEWPORT)
    place.new_page()
    return place


@pytest.fixture
def page(chromium):
    with watched(chromium) as page:
        yield page


def idle(page) -> None:
    """Wait until the script has run, and nothing on the page is stale or still loading."""
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
        " && !document.querySelector('[data-stale=true], [data-testid=stSkeleton]')"
    )


def visit(page, url: str, title: str) -> None:
    page.goto(url)
    page.get_by_role("heading", name=title, exact=True).wait_for()
    idle(page)


def follow(page, title: str) -> None:
    """Go to a page by the links of the app, also where a narrow screen hides the navigation: its door, then its tab.

    Where a page of the same door is open, by its tabs alone.
    """
    name = PAGES.get(title, doors.HOME)
    if (
        name in ("disagreements", "annotators")
        and not page.get_by_test_id("stSidebarNavLink").filter(has_text="Team").count()
    ):
        place = urlsplit(address(page))  # no team: no link leads there
        visit(page, f"{place.scheme}://{place.netloc}/{name}?{place.query}", title)
        return
    team = page.get_by_test_id("stSidebarNavLink").filter(has_text=re.compile("Team$")).count() > 0
    door, tab = doors.door_of(name, team), doors.TABS[name]
    here = doors.TABS.get(urlsplit(address(page)).path.rpartition("/")[2], doors.TABS[doors.HOME])
    if doors.door_of(here.name, team) != door:
        here = door.tabs[0]
        _open(page, page.get_by_test_id("stSidebarNavLink").filter(has_text=re.compile(f"{door.title}$")), here)
    for step in [doors.TABS[one] for one in (tab.within, name) if one and one != here.name]:
        word = next(one.word or one.title for one in door.tabs if one.name == step.name)
        _open(page, page.locator("[class*=st-key-tabs]").get_by_role("link", name=word, exact=True).last, step)


def _open(page, link, tab) -> None:
    link.evaluate("one => one.click()")
    page.get_by_role("heading", name=tab.title, exact=True).wait_for()
    idle(page)


def current(runs: Path, name: str = "plain") -> dict[int, str]:
    table = open_reviews(open_run(runs / name)).current()
    return dict(zip(table["sample"], table["decision"]))


def caption(page, sample: int):
    """The line under the image of a sample."""
    return page.get_by_text(re.compile(rf"^Sample {sample} ·"))


def address(page) -> str:
    """The URL as the browser shows it; `page.url` is behind after the page changed it by itself."""
    return page.evaluate("window.location.href")


def eventually(check, message: str = "it did not happen") -> None:
    deadline = time.monotonic() + WAIT / 1000
    while not check():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)


def come_into_view(page) -> None:
    """Scroll to all that is drawn once it comes into view, and wait until it is, where there is such a thing."""
    from playwright.sync_api import Error

    waiting = page.locator(".wait")

    def drawn() -> bool:
        if not waiting.count():
            return True
        with suppress(Error):  # drawn in the meantime, or not at rest yet
            waiting.first.scroll_into_view_if_needed(timeout=1500)
        return False

    if page.locator("[class*='st-key-later-']").count():
        eventually(drawn, "what comes into view was not drawn")


def check_access(page, where: str) -> None:
    """Fail on what axe-core calls a serious or critical hindrance. Streamlit's own list of pages is left out."""
    from axe_playwright_python.sync_playwright import Axe

    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    found = page.evaluate(
        "() => axe.run({exclude: ['[data-testid=stSidebarNav]']}, {resultTypes: ['violations']})"
        ".then(one => one.violations)"
    )
    bad = [
        f"{one['id']}: {node['html'][:160]} {[check['message'] for check in node['any']][:1]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]
    assert not bad, (where, bad)


def download(page, button: str) -> pd.DataFrame:
    with page.expect_download() as event:
        page.get_by_role("button", name=button).click()
    return pd.read_csv(io.BytesIO(Path(event.value.path()).read_bytes()))
