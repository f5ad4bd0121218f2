"""Signing in with a real login provider on this machine: in, out, who is let in to what, and what programs may send."""

import json
import urllib.parse
from contextlib import suppress

import pytest
from browser import MARKS, eventually, flag_many, idle
from helpers import digests, free_port, make_run
from oidc import ROLES, Cookies, Raw, app, provider, registered, write_secrets

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

# The provider is behind on what its own library calls deprecated.
pytestmark = [*MARKS, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
EMAIL = {"ann": "ann@lab.example", "rob": "rob@lab.example", "vic": "vic@guests.example"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = make_run(tmp_path_factory.mktemp("login") / "one", train=30, held_out=6)
    flag_many(made)
    with open_reviews(made) as kept:
        for who, decision in (("x@lab.example", "keep"), ("y@lab.example", "exclude")):
            kept.add(finding="label_error:39", sample=39, decision=decision, reviewer=who)
    return made


@pytest.fixture(scope="module")
def served(run, tmp_path_factory):
    place, port = tmp_path_factory.mktemp("server"), free_port()
    with provider() as url:
        file = write_secrets(place / "s.toml", url, port, registered(url, port))
        with app(run.path, place, "--secrets", str(file), port=port) as one:
            yield one


@pytest.fixture(scope="module")
def signed(served):
    """Cookies of each user, signed in."""
    found = {}
    for user in ("ann", "rob", "vic", "eve", "una"):
        found[user] = Cookies(served.url)
        assert found[user].sign_in(user) == served.url + "/"
    return found


def history(run):
    with open_reviews(open_run(run.path)) as kept:
        return kept.history()


@pytest.fixture
def window(chromium):
    """A page that reaches nothing but this machine: the provider's form asks for a style sheet from elsewhere."""
    context = chromium.new_context(viewport={"width": 1300, "height": 900})
    context.route(lambda url: "localhost" not in url, lambda route: route.abort())
    page = context.new_page()
    page.set_default_timeout(20_000)
    yield page
    context.close()


def sign_in(page, url: str, user: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name=user, exact=True).click()


# ---------------------------------------------------------------------------------------------- in a browser


def test_a_viewer_looks_a_reviewer_decides_and_both_leave(window, served, run):
    page, before = window, digests(run.path)
    page.goto(f"{served.url}/labels?run=run&open=11")
    page.get_by_text("Sign in to see what is here.").wait_for()
    text = page.inner_text("body")
    assert not any(word in text for word in ("coat", "Run", "label_error", "Wrong labels", "Ann"))
    assert page.locator("img[src^='data:image/png'], img[src^='data:image/jpeg']").count() == 0

    sign_in(page, served.url, "vic")
    page.get_by_text("You see everything here, and change nothing.").wait_for()
    page.get_by_text("Vic <b>Viewer</b>").wait_for()
    page.get_by_role("link", name="Review", exact=True).click()
    page.get_by_role("heading", name="Review", exact=True).wait_for()
    idle(page)
    page.keyboard.press("k")
    page.get_by_text("The answer was not stored: expected the role reviewer to decide, found viewer").wait_for()
    page.get_by_role("link", name="Results", exact=True).click()
    page.get_by_role("heading", name="Export", exact=True).wait_for()
    idle(page)
    assert page.get_by_role("button", name="Report (HTML)").is_disabled()
    assert page.get_by_text("Decisions made elsewhere").count() == 0
    assert digests(run.path) == before
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()
    page.get_by_text("Sign in to see what is here.").wait_for()

    sign_in(page, served.url, "rob")
    page.get_by_text("Rob Reviewer").wait_for()
    page.get_by_role("link", name="Review", exact=True).click()
    page.get_by_role("heading", name="Review", exact=True).wait_for()
    idle(page)
    page.keyboard.press("k")
    page.get_by_text("U takes it back").wait_for()
    assert history(run)["reviewer"].iloc[-1] == EMAIL["rob"]
    page.keyboard.press("u")
    eventually(lambda: not history(run)["stands"].iloc[-1])


@pytest.mark.parametrize(
    "user, told", [("eve", "eve@\u2060elsewhere.example has no role here"), ("una", "is not verified")]
)
def test_who_has_no_role_or_no_verified_address_is_told_and_sees_nothing(window, served, user, told):
    sign_in(window, served.url + "/export", user)
    window.get_by_text(told).wait_for()
    assert window.get_by_test_id("stSidebarNav").count() == 0 and "coat" not in window.inner_text("body")
    window.get_by_role("button", name="Sign out").click()
    window.get_by_role("button", name="End session").click()
    window.get_by_text("Sign in to see what is here.").wait_for()


# ---------------------------------------------------------------------------------------------- any program


def answer(raw: Raw, key: str, choice: str) -> None:
    """Answer the question on the page, as its component would."""
    token = json.loads(next(one for one in raw.data if "token" in one))["token"]
    raw.trigger(key, answer={"token": token, "choice": choice, "comment": "", "seconds": 1})


@pytest.mark.parametrize("user", ["vic", "rob"])
def test_forged_events_of_pages_do_only_what_the_role_allows(signed, run, user):
    """Events as from a browser's console, past whatever the page hides or disables."""
    before, old = digests(run.path), len(history(run))
    for page, key, event in (
        ("labels", "gallery-label_error", {"act": {"action": "exclude", "ids": [10, 11, 12], "label": None}}),
        ("disagreements", "settle", "said-0"),
        ("review", "question", "keep"),
    ):
        with Raw(signed[user], page=page) as raw:
            raw.run()
            if isinstance(event, str):
                answer(raw, key, event)
            else:
                raw.trigger(key, **event)
            if user == "vic" or page == "disagreements":
                assert "not stored: expected the role" in raw.seen, (page, raw.seen[-3000:])
    for page, key in (("reviewers", "assign-store"), ("coreset", "save-coreset")):
        with Raw(signed[user], page=page) as raw:
            raw.run()
            raw.press(key)  # disabled: Streamlit itself takes no event of it
    made = history(run).iloc[old:]
    with open_reviews(run) as kept:
        assert kept.assignments().empty
    assert run.selections() == []
    if user == "vic":
        assert digests(run.path) == before
    else:
        assert set(made["reviewer"]) == {EMAIL["rob"]} and set(made["role"]) == {""} and len(made) == 4


def test_parameters_of_the_url_decide_nothing(signed, run):
    before = digests(run.path)
    for query in ("run=run&reviewer=ann@lab.example&role=owner", "who=ann&login=failed&email=ann@lab.example&open=11"):
        for page in ("review", "export", "labels"):
            with Raw(signed["vic"], page=page, query=query) as raw:
                raw.run()
                assert "Viewer. You see everything here" in raw.seen
    assert digests(run.path) == before


def test_downloads_are_for_the_owner_who_had_them_made(served, signed, run):
    nobody = Cookies(served.url)
    with Raw(signed["vic"], page="export") as viewer, Raw(signed["rob"], page="export") as reviewer:
        for raw in (viewer, reviewer):
            raw.run()
            assert len(raw.deferred) >= 8
            assert [raw.make(one) for one in raw.deferred.values()] == [""] * len(raw.deferred)
    with Raw(signed["ann"], page="export") as owner:
        owner.run()
        name = next(one for one in owner.deferred if one.endswith("download-findings.csv"))
        place = owner.make(owner.deferred[name])
        assert place.startswith("/media/")
        status, content, headers = signed["ann"].get(place)
        assert status == 200 and b"label_error" in content
        assert headers["cache-control"] == "no-store" and "attachment" in headers["content-disposition"]
        assert signed["ann"].get(place, "HEAD")[:2] == (200, b"")
        assert signed["ann"].get(place, Range="bytes=0-3")[1] == content
        for other in (nobody, signed["vic"], signed["rob"], signed["eve"], signed["una"]):
            for path in (place, "/" + place, place.replace("/media", "/labels/../media")):
                status, found, _ = other.get(path)
                assert content not in found and (status == 403 or b"<title>Streamlit" in found or status == 400)
        with Raw(signed["vic"], page="export") as thief:  # who knows the id has the owner's file made, not handed out
            thief.run()
            assert signed["vic"].get(thief.make(owner.deferred[name]))[0] == 403


def upload(cookies: Cookies, session: str, content: bytes, token: str | None = None, **headers) -> int | None:
    edge = "edge"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="f"; filename="d.csv"\r\n\r\n'.encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={edge}", **headers}
    if token is not None:
        headers["X-Xsrftoken"] = token
    body = head + content + f"\r\n--{edge}--\r\n".encode()
    with suppress(OSError):
        return cookies.get(f"/_stcore/upload_file/{session}/one", "PUT", body, **headers)[0]
    return None


def test_uploads_are_for_owners_with_a_token_and_bounded(served, signed):
    nobody, ann = Cookies(served.url), signed["ann"]
    nobody.get("/_stcore/health")
    with Raw(ann, page="export") as raw:
        raw.run()
        token = ann.value("_streamlit_xsrf")
        assert raw.session and upload(ann, raw.session, b"path,label\n", token) == 204
        assert upload(ann, raw.session, b"path,label\n") == 403
        assert upload(ann, raw.session, b"path,label\n", token, Origin="http://localhost:1") == 403
        # Refused by its length alone, so that the connection may be closed before all of it is sent.
        assert upload(ann, raw.session, b"x" * (50 * 2**20 + 1), token) in (413, None)
        for other in (nobody, signed["vic"], signed["rob"], signed["eve"]):
            assert upload(other, raw.session, b"path,label\n", other.value("_streamlit_xsrf")) == 403


def test_no_route_tells_a_stranger_anything(served, signed, run):
    nobody = Cookies(served.url)
    told = {}
    for path in (
        *("/", "/labels", "/labels?run=run&open=11", "/index.html", "/_stcore/health", "/_stcore/host-config"),
        *("/_stcore/metrics", "/_stcore/script-health-check", "/_stcore/allowed-message-origins", "/_stcore/message"),
        *("/_stcore/agent/openapi.json", "/_stcore/agent/mcp", "/_stcore/bidi-components/lossprint_gallery/x.js"),
        *("/media/0.png", "/media/../run.json", "/component/a/index.html", "/app/static/run.json", "/run.json"),
        *("/reviews.db", "/~/+/media/x", "/static/../../run.json", "/auth/login", "/auth/login?provider=x"),
        *("/oauth2callback", "/oauth2callback?code=1&state=2", "/%5f%73tcore/metrics", "//_stcore//metrics"),
    ):
        status, content, _ = nobody.get(path)
        told[path] = (status, b"<title>Streamlit</title>" in content)
        assert not any(
            word in content for word in (b"coat", b"label_error", b"Wrong labels", b"Ann Owner", b"_sessions")
        )
    shell = {path for path, (status, page) in told.items() if status == 200 and page}
    assert shell >= {"/", "/labels", "/index.html"} and told["/_stcore/health"][0] == 200
    refused = {path for path, (status, _) in told.items() if status == 403}
    assert refused >= {"/_stcore/metrics", "/media/0.png", "/component/a/index.html", "/app/static/run.json"}
    assert refused >= {"/_stcore/agent/mcp", "/_stcore/bidi-components/lossprint_gallery/x.js", "/%5f%73tcore/metrics"}
    assert signed["vic"].get("/_stcore/metrics")[0] == 200
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert nobody.get("/_stcore/agent/interact", method, b"{}")[0] == 403


def test_a_websocket_of_a_foreign_page_is_refused(served, signed):
    from websockets.exceptions import InvalidStatus

    port = urllib.parse.urlsplit(served.url).port
    for origin in ("https://evil.example", f"http://localhost:{port + 1}", f"http://evil.example:{port}", "null"):
        raw = Raw(signed["ann"], origin=origin)
        with pytest.raises(InvalidStatus) as error, raw:
            pass
        assert error.value.response.status_code == 403
    with Raw(signed["ann"], origin=f"http://localhost:{port}") as raw:
        raw.run()
        assert "Ann Owner" in raw.seen
    unmatched = Cookies(served.url)  # the user's cookie without the token that the page sends beside it
    unmatched.get("/_stcore/health")
    for one in signed["ann"].jar:
        if one.name.startswith("_streamlit_user"):
            unmatched.jar.set_cookie(one)
    with Raw(unmatched) as raw:
        raw.cookies = Cookies(served.url)
        raw.run()
        assert "Ann Owner" in raw.seen  # its own token
    forged = Cookies(served.url)
    forged.get("/_stcore/health")
    forged.jar.set_cookie(next(one for one in signed["vic"].jar if one.name == "_streamlit_user"))
    next(one for one in forged.jar if one.name == "_streamlit_user").value += "x"
    with Raw(forged) as raw:
        raw.run()
        assert "Sign in to see what is here" in raw.seen
    assert forged.get("/_stcore/metrics")[0] == 403


def test_signing_out_ends_other_windows_and_kept_cookies(served, run):
    rob = Cookies(served.url)
    rob.sign_in("rob")
    kept = Cookies(served.url)
    kept.get("/_stcore/health")
    for one in rob.jar:
        kept.jar.set_cookie(one)
    with Raw(rob, page="review") as other, Raw(rob) as here:
        other.run()
        assert "Rob Reviewer" in other.seen
        here.run()
        here.press("sign-out")
        assert here.redirect.endswith("/auth/logout")
        before = digests(run.path)
        answer(other, "question", "keep")
        assert "Sign in to see what is here" in other.seen and "data:image" not in other.seen
        assert digests(run.path) == before
    assert kept.get("/_stcore/metrics")[0] == 403
    with Raw(kept) as raw:
        raw.run()
        assert "Sign in to see what is here" in raw.seen


def test_the_address_that_signs_out_ends_a_kept_cookie_as_well(served):
    vic, kept = Cookies(served.url), Cookies(served.url)
    vic.sign_in("vic")
    for one in vic.jar:
        kept.jar.set_cookie(one)
    assert kept.get("/_stcore/metrics")[0] == 200
    vic.get("/auth/logout")
    assert kept.get("/_stcore/metrics")[0] == 403


def test_a_role_that_is_taken_away_is_gone_at_once(served, signed, run):
    try:
        with Raw(signed["rob"], page="review") as raw:
            raw.run()
            before = digests(run.path)  # the question is held
            served.roles.write_text(ROLES.replace('"*@lab.example" = "reviewer"', ""))
            answer(raw, "question", "keep")
            assert "rob@\u2060lab\\\\.example** has no role here" in raw.seen
        assert signed["rob"].get("/_stcore/metrics")[0] == 403
        assert digests(run.path) == before
        for page, key in (("reviewers", "assign-store"), ("coreset", "save-coreset")):
            served.roles.write_text(ROLES)
            with Raw(signed["ann"], page=page) as raw:
                raw.run()
                served.roles.write_text(ROLES.replace('ann@lab.example" = "owner"', 'ann@lab.example" = "reviewer"'))
                raw.press(key)
                assert "expected the role owner" in raw.seen.replace("\\", "")
        assert digests(run.path) == before
    finally:
        served.roles.write_text(ROLES)


# ---------------------------------------------------------------------------------------------- what goes wrong


def test_after_the_token_expired_nothing_is_stored_or_shown_and_it_can_be_done_again(run, tmp_path):
    port = free_port()
    with provider(seconds=6) as url:
        file = write_secrets(tmp_path / "s.toml", url, port, registered(url, port))
        with app(run.path, tmp_path / "srv", "--secrets", str(file), port=port) as served:
            rob = Cookies(served.url)
            rob.sign_in("rob")
            with Raw(rob, page="review") as raw:
                raw.run()
                assert "Rob Reviewer" in raw.seen
                eventually(lambda: rob.get("/_stcore/metrics")[0] == 403)
                before = digests(run.path)
                answer(raw, "question", "keep")
                assert "Your login has expired" in raw.seen and "data:image" not in raw.seen
                assert digests(run.path) == before
                raw.press("sign-in-")
                assert "/auth/login" in raw.redirect
            rob.sign_in("rob")
            with Raw(rob, page="review") as raw:
                raw.run()
                answer(raw, "question", "keep")
            assert digests(run.path) != before and history(run)["reviewer"].iloc[-1] == EMAIL["rob"]
        assert "Traceback" not in served.said()


def test_a_wrong_secret_and_a_provider_that_is_gone_are_one_clear_line(window, run, tmp_path):
    port = free_port()
    with provider() as url:
        client = registered(url, port)
        file = write_secrets(tmp_path / "s.toml", url, port, (client[0], "PLANTED-wrong-secret"))
        server = app(run.path, tmp_path / "srv", "--secrets", str(file), port=port)
        served = server.__enter__()
        sign_in(window, served.url, "rob")
        window.get_by_text("Signing in did not work: the login provider refused it").wait_for()
    try:
        window.goto(served.url)
        window.get_by_role("button", name="Sign in", exact=True).click()
        window.get_by_text("Signing in did not work: the login provider could not be reached").wait_for()
        assert Cookies(served.url).get("/oauth2callback?error=PLANTED-error&error_description=PLANTED-text")[0] == 200
    finally:
        server.__exit__(None, None, None)
    lines = [line for line in served.said().splitlines() if line.strip()]
    assert len(lines) == 4, lines  # the address, and a line each
    assert "OAuthError at" in lines[1] and "Connect" in lines[2], lines
    assert "PLANTED" not in served.said() and "Traceback" not in served.said()
