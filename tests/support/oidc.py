"""A login provider on this machine for tests (oidc-provider-mock, over HTTP), the app behind it, and raw clients of it.

`Raw` speaks to the app's websocket without its page: what a browser's console could send, any program can send.
"""

import json
import re
import secrets
import sys
import urllib.error
import urllib.parse
import urllib.request
import warnings
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.cookiejar import CookieJar
from pathlib import Path

from helpers import answering, environment
from processes import warm_server

USERS = {
    "ann": {"email": "ann@lab.example", "email_verified": True, "name": "Ann Owner"},
    "rob": {"email": "rob@lab.example", "email_verified": True, "name": "Rob Reviewer"},
    "vic": {"email": "Vic@Guests.example", "name": "Vic <b>Viewer</b>"},  # no word on whether it is verified
    "eve": {"email": "eve@elsewhere.example", "email_verified": True, "name": "Eve"},
    "una": {"email": "una@lab.example", "email_verified": False, "name": "Una"},
}
ROLES = """
[roles]
"ann@lab.example" = "owner"
"una@lab.example" = "owner"
"*@lab.example" = "reviewer"
"*@guests.example" = "viewer"
"""


@dataclass
class Served:
    """The app: its URL, its roles file, and its output so far."""

    url: str
    roles: Path
    log: Path

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def provider(seconds: int = 3600):
    """A login provider whose tokens last so many seconds, with all USERS; its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from oidc_provider_mock import User, run_server_in_thread
    users = [User(sub=sub, claims=claims) for sub, claims in USERS.items()]
    with run_server_in_thread(access_token_max_age=timedelta(seconds=seconds), user_claims=users) as server:
        url = f"http://localhost:{server.server_port}"
        for sub, claims in USERS.items():
            body = json.dumps(claims).encode()
            asked = urllib.request.Request(
                f"{url}/users/{sub}", body, {"Content-Type": "application/json"}, method="PUT"
            )
            urllib.request.urlopen(asked, timeout=5).read()
        yield url


def registered(url: str, port: int) -> tuple[str, str]:
    """A client of the provider with a secret that it checks: id, secret."""
    body = {
        "redirect_uris": [f"http://localhost:{port}/oauth2callback"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": "openid email profile",
    }
    asked = urllib.request.Request(
        f"{url}/oauth2/clients", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    made = json.load(urllib.request.urlopen(asked, timeout=5))
    return made["client_id"], made["client_secret"]


def write_secrets(file: Path, url: str, port: int, client: tuple[str, str], **changed) -> Path:
    auth = {
        "redirect_uri": f"http://localhost:{port}/oauth2callback",
        "cookie_secret": secrets.token_hex(32),
        "client_id": client[0],
        "client_secret": client[1],
        "server_metadata_url": f"{url}/.well-known/openid-configuration",
        **changed,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[auth]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in auth.items()))
    return file


@contextmanager
def app(runs: Path, place: Path, *options: str, port: int, roles: str | None = ROLES, fresh=False, **around):
    """The app as `lossprint app` runs it, with its output in a file; `fresh`: in a process that has loaded nothing."""
    place.mkdir(parents=True, exist_ok=True)
    command = [str(runs), "--port", str(port), "--no-browser", *options]
    if roles is not None:
        (place / "roles.toml").write_text(roles)
        command += ["--roles", str(place / "roles.toml")]
    url, log = f"http://localhost:{port}", place / "log.txt"
    with open(log, "w+") as out, ExitStack() as until:
        with environment(**{"HOME": str(place), **around}), chdir(place):
            if fresh:
                until.enter_context(answering([sys.executable, "-m", "lossprint.app.serve", *command], url, out))
            else:
                until.enter_context(warm_server(command, url, out))
        yield Served(url, place / "roles.toml", log)


# ---------------------------------------------------------------------------------------------- raw clients


class Cookies:
    """Plain HTTP with cookies, as a browser has them: signs in by itself."""

    def __init__(self, url: str):
        self.url = url
        self.jar = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers) -> tuple[int, bytes, dict]:
        url = path if path.startswith("http") else self.url + path
        asked = urllib.request.Request(url, body, headers, method=method)
        try:
            with self.opener.open(asked, timeout=10) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def sign_in(self, user: str) -> str:
        """Go through the provider as `user`; the URL where that ends. What the page's button does: the address of the
        login is in the message that answers its click."""
        with Raw(self) as raw:
            raw.run()
            raw.press("sign-in-")
            place = raw.redirect
        assert place, "the button led nowhere"
        with self.opener.open(self.url + "/" + place.lstrip("/"), timeout=10) as answer:
            form, text = answer.url, answer.read().decode()
        if "<form" not in text:
            return form
        with self.opener.open(form, urllib.parse.urlencode({"sub": user}).encode(), timeout=10) as answer:
            answer.read()
            return answer.url

    def header(self) -> str:
        return "; ".join(f"{one.name}={one.value}" for one in self.jar)

    def value(self, name: str) -> str:
        return next((one.value for one in self.jar if one.name == name), "")


class Raw:
    """A websocket to the app: runs pages, keeps what they show, sends the events of any widget."""

    def __init__(self, cookies: Cookies, *, origin: str | None = None, page: str = "", query: str = ""):
        self.cookies, self.page, self.query = cookies, page, query
        self.origin = origin or cookies.url
        self.texts, self.widgets, self.redirect, self.hashes, self.session = [], {}, "", {}, ""
        self.states: list = []
        self.deferred: dict[str, str] = {}
        self.data: list[str] = []  # what components were given, as JSON
        self.fragments: dict[str, str] = {}  # which part of the page a component is drawn anew with

    def __enter__(self) -> "Raw":
        from websockets.sync.client import connect

        if not self.cookies.value("_streamlit_xsrf"):
            self.cookies.get("/_stcore/health")
        self.stack = ExitStack()
        opened = connect(
            self.cookies.url.replace("http", "ws", 1) + "/_stcore/stream",
            origin=self.origin,
            additional_headers={"Cookie": self.cookies.header()},
            subprotocols=["streamlit", self.cookies.value("_streamlit_xsrf")],
            max_size=None,
            proxy=None,
        )
        self.socket = self.stack.enter_context(opened)
        return self

    def __exit__(self, *_) -> None:
        self.stack.close()

    def run(self, widgets: list | None = None, fragment: str = "") -> None:
        """Run the page with widget states, and read until it has run."""
        from streamlit.proto.BackMsg_pb2 import BackMsg

        message = BackMsg()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_script_hash = self.hashes.get(self.page, "")
        message.rerun_script.page_name = "" if self.page in self.hashes else self.page
        message.rerun_script.fragment_id = fragment
        message.rerun_script.widget_states.widgets.extend(widgets or [])
        self.texts = []
        self._send(message)

    def _send(self, message) -> None:
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        asks = message.WhichOneof("type") == "rerun_script"
        self.socket.send(message.SerializeToString())
        while True:
            raw = self.socket.recv(20)
            told = ForwardMsg()
            told.ParseFromString(raw)
            kind = told.WhichOneof("type")
            if kind == "auth_redirect":
                self.redirect = told.auth_redirect.url
            elif kind == "new_session":
                self.session = told.new_session.initialize.session_id or self.session
                self.started, self.config = told.new_session.initialize, told.new_session.config
            elif kind == "navigation":
                self.hashes = {one.url_pathname: one.page_script_hash for one in told.navigation.app_pages}
            elif kind == "delta":
                self._seen(told.delta)
            elif kind == "backend_operation_response":
                self.answer = told.backend_operation_response
                return
            elif kind == "script_finished" and asks and told.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return

    def _seen(self, delta) -> None:
        self.texts.append(str(delta))
        for found in re.finditer(r'\bid: "(\$\$[^"]*)"', str(delta)):
            name = found[1].rsplit("-", 1)[0] if found[1].endswith("None") else found[1]
            self.widgets[name] = found[1]
        element = delta.new_element
        if element.WhichOneof("type") == "bidi_component":
            one = element.bidi_component
            self.widgets[one.id] = one.id
            self.fragments[one.id] = delta.fragment_id
            self.data.append(one.json or one.mixed.json)
        if element.WhichOneof("type") == "download_button":
            one = element.download_button
            self.widgets[one.id] = one.id
            self.deferred[one.id] = one.deferred_file_id or one.url

    def id(self, key: str) -> str:
        """The id of the widget with a key (the end of its id)."""
        found = [one for one in self.widgets.values() if one.endswith(f"-{key}")]
        assert found, f"no widget {key}: {sorted(self.widgets.values())}"
        return found[-1]

    def press(self, key: str) -> None:
        """Send the click of a button, whether or not it is there for this user, or disabled."""
        from streamlit.proto.WidgetStates_pb2 import WidgetState

        self.run([WidgetState(id=self.id(key), trigger_value=True)])

    def trigger(self, key: str, **value) -> None:
        """Send what a component's setTriggerValue sends."""
        from streamlit.proto.WidgetStates_pb2 import WidgetState

        told = json.dumps([{"event": name, "value": one} for name, one in value.items()])
        place = f"$$STREAMLIT_INTERNAL_KEY_{self.id(key)}__events"
        self.run([WidgetState(id=place, json_trigger_value=told)], self.fragments[self.id(key)])

    def make(self, file_id: str) -> str:
        """Ask for the file of a download button; its URL, empty where it was refused."""
        from streamlit.proto.BackMsg_pb2 import BackMsg

        message = BackMsg()
        message.backend_operation_request.request_id = secrets.token_hex(4)
        message.backend_operation_request.session_id = self.session
        message.backend_operation_request.deferred_file.file_id = file_id
        self._send(message)
        return self.answer.deferred_file.url

    @property
    def seen(self) -> str:
        return "\n".join(self.texts)
