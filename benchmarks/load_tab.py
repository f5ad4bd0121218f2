"""A tab of a browser without its window: a websocket that speaks the protocol of Streamlit's page. See load.py.

Messages are built and read with the classes that Streamlit itself installs (streamlit.proto), so that what is sent is
what its page sends, and a new version of the protocol is noticed.
"""

import asyncio
import base64
import json
import re
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urljoin

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
PATIENT = 60.0  # seconds for a rerun
FILES = re.compile(rb"/media/[\w.-]+")
STATIC = re.compile(r'(?:src|href)="([^"]+\.(?:js|css))"')
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # of the images that the app makes


KINDS = {
    "session": "sessions that broke (websocket refused or closed, no end of a rerun)",
    "page": "exceptions and errors on a page",
    "request": "HTTP requests that failed",
    "image": "images that did not come",
    "stale": "page turns that changed nothing",
    "silent": "decisions that the page did not acknowledge",
}


class Broken(Exception):
    """A session that cannot go on: its websocket was refused or closed, or a rerun did not end."""


@dataclass
class Place:
    """Something on the page that takes events: its id, the fragment that it is drawn with, what it was given."""

    id: str
    fragment: str
    data: dict = field(default_factory=dict)


class Tab:
    """One browser session at `url`, as the reviewer `name`. `faults` says what went wrong: (a key of KINDS, text)."""

    def __init__(self, url: str, name: str):
        self.url, self.name = url, name
        self.faults: list[tuple[str, str]] = []
        self.toasts: list[tuple[str, str]] = []  # icon and text, of the last rerun
        self.query: dict[str, str] = {}
        self.page = ""
        self.places: dict[str, Place] = {}  # by the end of their ids, which is their key in the app
        self.pages: dict[str, str] = {}
        self.held: dict[str, tuple[bytes, int]] = {}  # the messages that the page keeps, and when each was used last
        self.reruns, self.oldest = 0, 2
        self.fetched: set[str] = set()
        self.named: set[str] = set()  # files that messages name
        self.known: set[int] = set()  # hashes of the images that were looked at
        self.received = 0  # bytes
        self.socket = None

    # ------------------------------------------------------------------------------------------ what a browser fetches

    async def arrive(self, page: str, query: dict[str, str]) -> None:
        """Open a page at its address: the files of Streamlit's page, the websocket, the first run."""
        _, html = await self._get(f"/{page}")
        for path in STATIC.findall(html.decode("utf-8", "replace")):
            await self._fetch(path)
        headers, _ = await self._get("/_stcore/health")
        await self._get("/_stcore/host-config")
        cookie = next((one for one in headers.get_all("Set-Cookie", []) if one.startswith("_streamlit_xsrf=")), "")
        token = cookie.split(";")[0].partition("=")[2]
        sent = {"Cookie": f"_streamlit_xsrf={token}; lossprint_reviewer={quote(self.name)}", "User-Agent": AGENT}
        try:
            self.socket = await connect(
                self.url.replace("http", "ws", 1) + "/_stcore/stream",
                origin=self.url,
                additional_headers=sent,
                user_agent_header=None,
                subprotocols=["streamlit", token],
                max_size=None,
                max_queue=None,
                ping_interval=None,  # a page answers pings and sends none
                proxy=None,
            )
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise Broken(f"no websocket: {error}") from None
        await self.visit(page, query)

    async def leave(self) -> None:
        if self.socket is not None:
            await self.socket.close()

    async def _get(self, path: str):
        def read():
            asked = urllib.request.Request(urljoin(self.url, path), headers={"User-Agent": AGENT})
            with urllib.request.urlopen(asked, timeout=PATIENT) as answer:
                return answer.headers, answer.read()

        try:
            return await asyncio.to_thread(read)
        except OSError as error:
            self.fault("request", f"{path}: {error}")
            raise Broken(f"no answer from {path}: {error}") from None

    async def _fetch(self, path: str) -> None:
        """Fetch a file unless this session has it. One that fails is a fault, and the session goes on."""
        if path in self.fetched:
            return
        self.fetched.add(path)
        try:
            _, content = await self._get(path)
        except Broken:
            return
        if not content:
            self.fault("request", f"{path}: nothing came")

    def fault(self, kind: str, text: str) -> None:
        self.faults.append((kind, text))

    # ------------------------------------------------------------------------------------------ reruns

    async def visit(self, page: str, query: dict[str, str]) -> float:
        """Go to a page of the app, as by a link of its sidebar; seconds."""
        self.page = page
        self.query = {name: value for name, value in self.query.items() if name == "run"} | query
        return await self.rerun([], "")

    async def rerun(self, widgets: Sequence[WidgetState], fragment: str) -> float:
        """Send the states of some widgets, read until the script, or the fragment, has run; the seconds of that."""
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string = urlencode(self.query)
        asked.page_script_hash = self.pages.get(self.page, "")
        asked.page_name = "" if self.page in self.pages else self.page
        asked.fragment_id = fragment
        asked.widget_states.widgets.extend(widgets)
        asked.cached_message_hashes.extend(self.held)
        asked.context_info.url = f"{self.url}/{self.page}"
        asked.context_info.timezone = "UTC"
        asked.context_info.color_scheme = "light"
        self.toasts = []
        self.places = {key: one for key, one in self.places.items() if fragment and one.fragment != fragment}
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENT):
                await self.socket.send(message.SerializeToString())
                while not await self._read():
                    pass
        except TimeoutError:
            raise Broken(f"no end of a rerun of {self.page} in {PATIENT:.0f} s") from None
        except ConnectionClosed as error:
            raise Broken(f"the websocket closed: {error}") from None
        took = time.perf_counter() - began
        for path in self.named - self.fetched:
            await self._fetch(path)
        return took

    async def _read(self) -> bool:
        """Take one message in; True where it ends the rerun."""
        raw = await self.socket.recv()
        self.received += len(raw)
        told = ForwardMsg.FromString(raw)
        if told.WhichOneof("type") == "ref_hash":
            if told.ref_hash not in self.held:
                self.fault("page", f"message {told.ref_hash} is not held")
                return False
            raw = self.held[told.ref_hash][0]
            self.held[told.ref_hash] = (raw, self.reruns)
            told = ForwardMsg.FromString(raw)
        elif told.metadata.cacheable:
            self.held[told.hash] = (raw, self.reruns)
        if b"/media/" in raw:
            self.named |= {one.decode() for one in FILES.findall(raw)}
        kind = told.WhichOneof("type")
        if kind == "new_session":
            self.oldest = told.new_session.config.max_cached_message_age
        elif kind == "navigation":
            self.pages = {one.url_pathname: one.page_script_hash for one in told.navigation.app_pages}
        elif kind == "page_info_changed":
            self.query = dict(parse_qsl(told.page_info_changed.query_string, keep_blank_values=True))
        elif kind == "page_not_found":
            self.fault("page", f"no page {self.page}")
        elif kind == "delta":
            self.take(told.delta)
        elif kind == "session_event" and told.session_event.WhichOneof("type") == "script_compilation_exception":
            self.fault("page", f"{told.session_event.script_compilation_exception.message:.200}")
        elif kind == "script_finished" and told.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            self._age()
            return True
        return False

    def _age(self) -> None:
        """Drop what was not used in the last reruns, as the page does."""
        self.reruns += 1
        self.held = {name: one for name, one in self.held.items() if self.reruns - one[1] <= self.oldest}

    # ------------------------------------------------------------------------------------------ what is on the page

    def take(self, delta) -> None:
        """Note what an element says: faults, toasts, and what takes events."""
        if delta.WhichOneof("type") == "add_block":
            if delta.add_block.dialog.id:
                self.places["dialog"] = Place(delta.add_block.dialog.id, delta.fragment_id)
            return
        element = delta.new_element
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.fault("page", f"{element.exception.type} {element.exception.message:.200}")
        elif kind == "alert" and element.alert.format == Alert.ERROR:
            self.fault("page", f"{element.alert.body:.200}")
        elif kind == "toast":
            self.toasts.append((element.toast.icon, element.toast.body))
        elif kind == "pagination":
            one = element.pagination
            self.places[_key(one.id)] = Place(one.id, delta.fragment_id, {"pages": one.num_pages})
        elif kind == "bidi_component":
            one = element.bidi_component
            data = json.loads(one.json or one.mixed.json or "null") or {}
            self.places[_key(one.id)] = Place(one.id, delta.fragment_id, data)
            for tile in data.get("tiles", ()):
                self._looked_at(tile["src"], f"sample {tile['id']}", bool(tile["turns"]))
            for image in data.get("images", ()):
                self._looked_at(image["src"], image["id"], bool(image["turns"] or image.get("held")))

    def _looked_at(self, source: str | None, what: str, left_out: bool) -> None:
        """An image within a message: there, and what it says it is."""
        if source is None:
            if not left_out:
                self.fault("image", f"{what} is not there")
        elif hash(source) not in self.known:
            self.known.add(hash(source))
            head = base64.b64decode(source.partition(",")[2][:16])
            if not head.startswith(STARTS):
                self.fault("image", f"{what} begins with {head[:8]!r}")

    # ------------------------------------------------------------------------------------------ events

    async def set_page(self, place: Place, key: str, number: int) -> float:
        """Choose a page of a gallery; the address says it too."""
        self.query[key] = str(number)
        return await self.rerun([WidgetState(id=place.id, int_value=number)], place.fragment)

    async def trigger(self, place: Place, name: str, value: object) -> float:
        """What a component's setTriggerValue sends."""
        told = json.dumps([{"event": name, "value": value}])
        state = WidgetState(id=f"$$STREAMLIT_INTERNAL_KEY_{place.id}__events", json_trigger_value=told)
        return await self.rerun([state], place.fragment)

    async def dismiss(self) -> float:
        """Close the drawer."""
        place = self.places.pop("dialog")
        return await self.rerun([WidgetState(id=place.id, trigger_value=True)], place.fragment)


def _key(name: str) -> str:
    """The key that the app gave to a widget: what follows the hash in its id, $$ID-HASH-KEY."""
    return name.split("-", 2)[-1]
