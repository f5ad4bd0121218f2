"""What stands before Streamlit's routes: the name that was asked for, where a page comes from, and who is signed in.

Streamlit's own check of a foreign origin asks a server elsewhere for this machine's address; so it never gets that far.
"""

import re
from urllib.parse import parse_qs, urlsplit

from lossprint.app.access import address, roles
from lossprint.audit.system.jsontext import parsed

# Nothing is fetched from, sent to or shown in another site, whatever a page were made to contain.
POLICY = "; ".join(
    (
        "default-src 'self' data: blob:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:",
        "style-src 'self' 'unsafe-inline' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
NEVER = ("camera", "microphone", "geolocation", "display-capture", "payment", "usb", "serial", "hid", "midi")
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",  # no page of another site keeps a hold of this window
    "Cross-Origin-Resource-Policy": "same-origin",  # nor shows a picture or runs a script of this server
    "Permissions-Policy": ", ".join(f"{name}=()" for name in NEVER),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
OPEN = ("/_stcore/health", "/_stcore/host-config", "/_stcore/stream")  # of what is not for everybody
CLOSED = ("/_stcore/", "/media/", "/component/", "/app/static/")
SAFE = ("GET", "HEAD", "OPTIONS")
# What a browser may send over its websocket under a login. What else there is concerns the whole server (emptying
# everybody's caches) or a developer, and is for owners.
MESSAGES = {"rerun_script", "stop_script", "app_heartbeat", "file_urls_request"}
OPERATIONS = {"deferred_file", "dataframe_chunk"}  # of the session itself: the file of its button, rows of its table
USER = "_streamlit_user"


class Gate:
    """ASGI middleware. `hosts`: names that are answered to (empty: any); `origin`: that of the login, None without.

    Refused with 403: another Host, a foreign Origin on a websocket or a request that changes something; under a login
    also, without a cookie of a user who may enter, every route but the page's own files, sign-in and health; uploads
    of who is not an owner; and files that were made for somebody else.
    """

    def __init__(self, app, *, hosts: list[str], origin: str | None = None):
        self.app, self.hosts, self.origin = app, hosts, origin

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path = _path(scope)
        why = self._refused(scope, headers, path)
        if why is None and roles.asked() and path.rstrip("/") == "/auth/logout":
            roles.forget(_visitor(headers))  # Streamlit only asks the browser to drop the cookie
        if why is not None:
            await _refuse(scope, send, why)
        elif scope["type"] == "http" and (place := address.moved(path, scope["query_string"].decode("latin-1"))):
            await _sent_on(send, place)
        elif scope["type"] == "websocket":
            await self.app(scope, _heard(receive, headers) if roles.asked() else receive, send)
        elif path.startswith("/media/") and roles.asked():
            await self._media(scope, receive, send, _visitor(headers))
        else:
            await self.app(scope, receive, self._dressed(scope, path, send))

    def _refused(self, scope, headers: dict, path: str) -> str | None:
        host = headers.get(b"host", "")
        if self.hosts and path != OPEN[0] and _name(host) not in self.hosts:
            return "this server goes by another name"
        from_page = headers.get(b"origin")
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE
        if changes and from_page is not None and from_page != self.origin and urlsplit(from_page).netloc != host:
            return "a page of another site may not do this"
        if not roles.asked() or path in OPEN or not path.startswith(CLOSED):
            return None
        one = _visitor(headers)
        if one.role is None:
            return "sign in first"
        return None if not path.startswith("/_stcore/upload_file") or one.may("owner") else "only owners may upload"

    def _dressed(self, scope, path: str, send):
        """`send`, with the headers that every answer has, cookies for HTTPS only where that is used, and a word on the
        page where signing in did not work."""

        async def dressed(message):
            if message["type"] == "http.response.start":
                headers = [(name, self._cookie(name, value)) for name, value in message["headers"]]
                headers += [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": headers}
                failed = _failed(scope, path, message)
                if failed:
                    headers = [one for one in headers if one[0] not in (b"location", b"content-length")]
                    root = scope["path"].removesuffix(path) + "/?login=" + failed
                    headers += [(b"location", root.encode()), (b"content-length", b"0")]
                    message = {**message, "status": 302, "headers": headers}
                    await send(message)
                    await send({"type": "http.response.body", "body": b""})
                    nonlocal over
                    over = True
                    return
            if not over:
                await send(message)

        over = False
        return dressed

    def _cookie(self, name: bytes, value: bytes) -> bytes:
        secure = name == b"set-cookie" and (self.origin or "").startswith("https:") and b"secure" not in value.lower()
        return value + b"; Secure" if secure else value

    async def _media(self, scope, receive, send, one: roles.Visitor) -> None:
        """A file in Streamlit's memory, if it was made for this user: looked at whole before any of it is sent."""
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() != b"range"]}
        start, body = {}, []

        async def keep(message):
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.append(message.get("body", b""))

        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await self.app(asked, receive, keep)
        content = b"".join(body)
        if start.get("status") != 200 or not roles.handed_out(content, one):
            await _refuse(scope, send, "there is no such file for you")
            return
        headers = [*start["headers"], (b"cache-control", b"no-store")]
        headers += [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})


def _heard(receive, headers: dict):
    """`receive`, without the messages that who sends them may not send; they are passed over as if never sent."""
    from google.protobuf.message import DecodeError
    from streamlit.proto.BackMsg_pb2 import BackMsg

    async def heard():
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            try:
                sent = BackMsg.FromString(message.get("bytes") or b"")
            except DecodeError:
                continue
            operations = {field.name for field, _ in sent.backend_operation_request.ListFields() if field.message_type}
            if sent.WhichOneof("type") in MESSAGES or (operations and operations <= OPERATIONS):
                return message
            if _visitor(headers).may("owner"):
                return message

    return heard


def _path(scope) -> str:
    """The path below server.baseUrlPath, in one form: Streamlit's routes know neither `//` nor `..`."""
    from streamlit import config

    path = re.sub("/+", "/", scope["path"])
    base = "/" + (config.get_option("server.baseUrlPath") or "").strip("/")
    return path[len(base) :] if base != "/" and path.startswith(base + "/") else path


def _name(host: str) -> str:
    """A Host header without its port."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:\d+)?", host)
    return found[1].lower().rstrip(".") if found else ""


def _visitor(headers: dict) -> roles.Visitor:
    """Who the signed cookie of a request says it is; nobody where anything about it is wrong."""
    from starlette.requests import cookie_parser
    from streamlit.auth_util import get_cookie_with_chunks, get_signing_secret
    from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value

    try:
        sent = cookie_parser(headers.get(b"cookie", ""))
        secret = get_signing_secret()

        def one(name: str) -> bytes | None:
            return decode_signed_value(secret, name, sent[name].encode("latin-1")) if name in sent else None

        found = get_cookie_with_chunks(one, USER) if secret else None
        said = parsed(found) if found else {}
    except (ValueError, TypeError, KeyError):
        said = {}
    return roles.visitor(said if isinstance(said, dict) else {})


def _failed(scope, path: str, message: dict) -> str | None:
    """Whether this answer says that signing in did not work: at the provider, or on the way to it."""
    if path == "/auth/login" and message["status"] >= 400:
        return "unreachable"
    asked = parse_qs(scope["query_string"].decode("latin-1"))
    if path != "/oauth2callback" or not {"code", "error"} & set(asked):
        return None
    kept = [value for name, value in message["headers"] if name == b"set-cookie"]
    return None if any(re.match(rb'_streamlit_user="?[^";\s]', value) for value in kept) else "failed"


async def _sent_on(send, place: str) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    headers += [(b"location", place.encode("latin-1")), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 307, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(scope, send, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why})  # not accepted yet: the client sees 403
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
