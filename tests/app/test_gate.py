"""What the server refuses to start as, and what it refuses to answer."""

import asyncio
import subprocess
import sys

import pytest
from helpers import in_a_thread, make_run

from lossprint.app import serve
from lossprint.app.access import gate, login, roles
from lossprint.audit.cli import app as cli_app
from lossprint.audit.cli import main as cli
from lossprint.audit.types import LossprintError

AUTH = {
    "redirect_uri": "https://prints.lab.example/oauth2callback",
    "cookie_secret": "s" * 32,
    "client_id": "i",
    "client_secret": "c",
    "server_metadata_url": "https://login.lab.example/.well-known/openid-configuration",
}
ROLES = '[roles]\n"ann@lab.example" = "owner"\n'


# ---------------------------------------------------------------------------------------------- before the start


@pytest.mark.parametrize(
    "host, local",
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("localhost", True),
        ("LocalHost", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.4", False),
        ("::ffff:10.0.0.4", False),
        ("localhost.evil.example", False),
        ("127.1", False),
        ("0", False),
    ],
)
def test_which_addresses_are_local(host, local):
    assert login.is_local(host) == local


def write_auth(folder, **changed) -> None:
    (folder / ".streamlit").mkdir(parents=True, exist_ok=True)
    lines = "".join(f'{name} = "{value}"\n' for name, value in {**AUTH, **changed}.items() if value is not None)
    (folder / ".streamlit" / "secrets.toml").write_text("[auth]\n" + lines)


def test_the_login_is_never_that_of_the_run_folder(tmp_path, monkeypatch):
    home, work, run = (tmp_path / name for name in ("home", "work", "work/runs/one"))
    for folder in (home, run):
        folder.mkdir(parents=True)
    monkeypatch.setattr(login.Path, "home", lambda: home)
    write_auth(run, client_id="planted")
    for here in (run, work / "runs", work, home):
        monkeypatch.chdir(here)
        assert login.find(None, run) is None
        assert login.find(None, here) is None
    monkeypatch.chdir(run)
    (home / ".streamlit").mkdir()
    (home / ".streamlit" / "secrets.toml").write_text("[other]\na = 1\n")
    assert login.find(None, run.parent) is None
    write_auth(home, client_id="home")
    assert login.find(None, run).auth["client_id"] == "home"
    monkeypatch.chdir(work)
    write_auth(work, client_id="work")
    assert login.find(None, run).auth["client_id"] == "work"
    assert login.find(home / ".streamlit" / "secrets.toml", run).origin == "https://prints.lab.example"


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"cookie_secret": "short"}, "32 random characters or more, found 5"),
        ({"cookie_secret": None}, "expected cookie_secret in [auth]"),
        ({"client_secret": None, "client_id": None}, "expected client_id, client_secret in [auth]"),
        ({"redirect_uri": "https://prints.lab.example/"}, "expected a redirect_uri such as"),
        ({"redirect_uri": "ftp://x/oauth2callback"}, "expected a redirect_uri such as"),
    ],
)
def test_a_login_that_cannot_work_is_refused_without_its_secrets(tmp_path, changed, told):
    write_auth(tmp_path, **changed)
    with pytest.raises(LossprintError) as error:
        login.find(tmp_path / ".streamlit" / "secrets.toml", tmp_path / "run")
    assert told in str(error.value) and "sss" not in str(error.value)


def test_named_providers_have_their_own_keys(tmp_path):
    write_auth(tmp_path, client_id=None, client_secret=None, server_metadata_url=None)
    file = tmp_path / ".streamlit" / "secrets.toml"
    with pytest.raises(LossprintError, match="client_id, client_secret, server_metadata_url in"):
        login.find(file, tmp_path / "run")
    file.write_text(file.read_text() + '[auth.lab]\nclient_id = "i"\n')
    with pytest.raises(LossprintError, match=r"lab\.client_secret, lab\.server_metadata_url"):
        login.find(file, tmp_path / "run")


def test_a_broken_secrets_file_is_not_quoted(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('[auth]\ncookie_secret = "PLANTED" oops')
    with pytest.raises(LossprintError, match="not readable: no TOML") as error:
        login.find(file, tmp_path)
    assert "PLANTED" not in str(error.value)


def test_what_is_refused_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(login.Path, "home", lambda: tmp_path / "nobody")
    monkeypatch.chdir(tmp_path)
    for name in ("LOSSPRINT_LOGIN", "LOSSPRINT_ROLES", "LOSSPRINT_INSECURE"):
        monkeypatch.setenv(name, "")
    assert serve.settle("run", "127.0.0.1", None, None, False) is None
    for host in ("0.0.0.0", "::", "", "10.1.2.3", "box.lab.example"):
        with pytest.raises(LossprintError, match="expected a login for a server that others can reach"):
            serve.settle("run", host, None, None, False)
    assert serve.settle("run", "0.0.0.0", None, None, True) is None
    assert serve.os.environ["LOSSPRINT_INSECURE"] == "0.0.0.0" and not roles.asked()
    write_auth(tmp_path)
    with pytest.raises(LossprintError, match="expected --roles FILE beside the login"):
        serve.settle("run", "0.0.0.0", None, None, False)
    (tmp_path / "roles.toml").write_text(ROLES)
    assert serve.settle("run", "0.0.0.0", "roles.toml", None, False).auth["client_id"] == "i"
    assert roles.asked() and not serve.os.environ["LOSSPRINT_INSECURE"]
    with pytest.raises(LossprintError, match="expected --secrets or --insecure, found both"):
        serve.settle("run", "0.0.0.0", "roles.toml", tmp_path / ".streamlit" / "secrets.toml", True)
    found = login.find(None, tmp_path / "run")
    assert login.hosts("0.0.0.0", found, False)[-1] == "prints.lab.example"
    assert login.hosts("0.0.0.0", None, True) == []
    assert "prints.lab.example" in login.hosts("0.0.0.0", None, True, "prints.lab.example")
    assert login.warnings(found) == []
    write_auth(tmp_path, redirect_uri="http://prints.lab.example/oauth2callback")
    assert "not encrypted" in login.warnings(login.find(None, tmp_path / "run"))[0]


def test_without_a_login_this_machine_answers_to_its_own_names(monkeypatch, tmp_path):
    """--insecure on 127.0.0.1 is no way in for a page whose name was made to point here; a proxy's name is given."""
    for name in ("LOSSPRINT_LOGIN", "LOSSPRINT_ROLES", "LOSSPRINT_INSECURE"):
        monkeypatch.setenv(name, "")
    for host in ("127.0.0.1", "localhost", "::1"):
        assert set(login.hosts(host, None, True)) >= {"127.0.0.1", "localhost"}
        assert "evil.example" not in login.hosts(host, None, True)
    assert login.hosts("127.0.0.1", None, True, "Prints.lab.example")[-1] == "prints.lab.example"
    serve.settle(tmp_path, "127.0.0.1", None, None, True, "prints.lab.example")
    assert serve.os.environ["LOSSPRINT_INSECURE"] == "prints.lab.example"
    serve.settle(tmp_path, "127.0.0.1", None, None, True)
    assert serve.os.environ["LOSSPRINT_INSECURE"] == "127.0.0.1"
    with pytest.raises(LossprintError, match="beside --insecure"):
        serve.settle(tmp_path, "127.0.0.1", None, None, False, "prints.lab.example")


@pytest.mark.parametrize("command", ["app", "demo"])
def test_the_command_refuses_in_one_line(tmp_path, command):
    run = make_run(tmp_path / "one").path if command == "app" else tmp_path / "new"
    place = [str(run)] if command == "app" else ["--out", str(run)]
    program = [sys.executable, "-m", "lossprint.audit.cli", command, *place, "--host", "0.0.0.0", "--no-browser"]
    around = {"PATH": "", "HOME": str(tmp_path)}
    made = subprocess.run(program, cwd=tmp_path, env=around, capture_output=True, text=True, timeout=60)
    assert made.returncode == 2 and made.stdout == "", made.stderr
    assert made.stderr.count("\n") == 1 and "--insecure" in made.stderr
    assert command == "app" or not run.exists(), "before the audit, not after it"


def test_the_command_hands_on_what_the_server_is_to_ask_for(tmp_path, monkeypatch):
    run = str(make_run(tmp_path).path)
    servers = []
    monkeypatch.setattr(cli_app.os, "execv", lambda program, command: servers.append(command))
    monkeypatch.setattr(cli_app.subprocess, "call", lambda command: 0)
    cli.main(["app", run, "--host", "::", "--roles", "r.toml", "--secrets", "s.toml"])
    cli.main(["app", run, "--insecure"])
    command, insecure = servers
    assert command[3:6] == [run, "--host", "::"] and "--insecure" not in command
    assert command[command.index("--roles") + 1] == "r.toml" and command[command.index("--secrets") + 1] == "s.toml"
    assert insecure[-1] == "--insecure"


# ---------------------------------------------------------------------------------------------- the gate


def ask(hosts, mine=None, kind="http", path="/", method="GET", **headers):
    """The status that a request meets at the gate, 200 where it gets through."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", b"a=b")]})
        await send({"type": "http.response.body", "body": b"in"})

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "method": method, "headers": pairs, "query_string": b""}
    in_a_thread(asyncio.run, gate.Gate(app, hosts=hosts, origin=mine)(scope, None, send))
    ask.sent = sent
    return sent[0].get("status", sent[0].get("code"))


HERE = ["localhost", "127.0.0.1", "[::1]"]


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost:8501", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8501", 200),
        ("evil.example:8501", 403),
        ("localhost.evil.example", 403),
        ("localhost:8501@evil.example", 403),
        ("", 403),
    ],
)
def test_another_name_for_this_machine_is_refused(host, status):
    assert ask(HERE, host=host) == status
    assert ask([], host=host) == 200
    assert ask(HERE, path="/_stcore/health", host=host) == 200


@pytest.mark.parametrize(
    "origin, allowed",
    [
        ("http://localhost:8501", True),
        (None, True),
        ("http://localhost:3000", False),
        ("https://evil.example", False),
        ("null", False),
        ("http://evil.example/localhost:8501", False),
        ("https://prints.lab.example", True),
        ("http://prints.lab.example", False),
    ],
)
def test_a_page_of_another_site_opens_no_websocket_and_changes_nothing(origin, allowed):
    headers = {"host": "localhost:8501", **({"origin": origin} if origin else {})}
    mine = "https://prints.lab.example"
    assert ask(HERE, mine, kind="websocket", path="/_stcore/stream", **headers) == (200 if allowed else 1008)
    assert ask(HERE, mine, method="PUT", path="/_stcore/upload_file/a/b", **headers) == (200 if allowed else 403)


@pytest.mark.parametrize("role, whole", [(None, False), ("viewer", False), ("reviewer", False), ("owner", True)])
def test_what_concerns_everybody_is_for_owners_on_the_websocket_too(monkeypatch, role, whole):
    from streamlit.proto.BackMsg_pb2 import BackMsg

    harmless = [BackMsg(app_heartbeat=True), BackMsg(stop_script=True), BackMsg(), BackMsg()]
    harmless[2].rerun_script.query_string = "run=demo"
    harmless[3].backend_operation_request.deferred_file.SetInParent()
    install = BackMsg()
    install.backend_operation_request.install_skills.SetInParent()
    sent = [BackMsg(clear_cache=True), *harmless[:2], BackMsg(debug_shutdown_runtime=True), install, *harmless[2:]]
    arriving = iter(
        [{"type": "websocket.connect"}]
        + [{"type": "websocket.receive", "bytes": one.SerializeToString()} for one in sent]
        + [{"type": "websocket.receive", "text": "no message"}, {"type": "websocket.disconnect"}]
    )
    monkeypatch.setenv(roles.LOGIN, "1")
    monkeypatch.setattr(gate, "_visitor", lambda headers: roles.Visitor(role=role))
    reached = []

    async def app(scope, receive, send):
        while not reached or reached[-1]["type"] != "websocket.disconnect":
            reached.append(await receive())

    async def receive():
        return next(arriving)

    scope = {"type": "websocket", "path": "/_stcore/stream", "headers": [(b"host", b"localhost")], "query_string": b""}
    in_a_thread(asyncio.run, gate.Gate(app, hosts=HERE)(scope, receive, None))
    through = [BackMsg.FromString(one["bytes"]) for one in reached if "bytes" in one]
    assert reached[0]["type"] == "websocket.connect"
    assert through == (sent if whole else harmless)


def test_every_answer_has_its_headers_and_cookies_are_for_https_where_that_is_used():
    assert ask(HERE, "https://prints.lab.example", host="localhost") == 200
    headers = dict(ask.sent[0]["headers"])
    assert headers[b"set-cookie"] == b"a=b; Secure" and b"default-src 'self'" in headers[b"content-security-policy"]
    assert headers[b"cross-origin-resource-policy"] == headers[b"cross-origin-opener-policy"] == b"same-origin"
    assert {b"camera=()", b"microphone=()", b"geolocation=()"} <= {*headers[b"permissions-policy"].split(b", ")}
    assert ask(HERE, "http://localhost:1", host="localhost") == 200
    assert dict(ask.sent[0]["headers"])[b"set-cookie"] == b"a=b"


@pytest.mark.parametrize(
    "path", ["/media/x", "//media/x", "/_stcore/metrics", "/component/a/b", "/_stcore/upload_file/a/b"]
)
@pytest.mark.parametrize("cookie", ["", "_streamlit_user=forged", '_streamlit_user="e30.x.y"; a', "\xff=\xff;;="])
def test_closed_routes_need_a_signed_cookie(monkeypatch, path, cookie):
    monkeypatch.setenv(roles.LOGIN, "1")
    assert ask(HERE, host="localhost", path=path, cookie=cookie) == 403
    assert ask(HERE, host="localhost", path="/labels", cookie=cookie) == 200
