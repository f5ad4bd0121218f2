"""Who works in a session: what is done next, and an account of what was sent and what the page said. See load.py."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from load_tab import Broken, Tab

PAGES = 20
AT_LEAST = 1  # actions
SHARES = {
    "labels": {"page turn": 0.6, "decision": 0.25, "drawer": 0.1, "next page": 0.05},
    "prints": {"page turn": 0.85, "drawer": 0.1, "next page": 0.05},
    "review": {"answer": 0.9, "next page": 0.1},
}
ACTIONS = ("page turn", "decision", "answer", "drawer", "next page")
GALLERIES = {
    "labels": ("gallery-label_error", "page", "per", "60"),
    "prints": ("prints-gallery", "p_page", "p_per", "24"),
}
STORED, MEANWHILE = "Stored", "answered this meanwhile"
SAMPLE = re.compile(r"/(\d+)(?:/frame)?$")  # at the end of an image's name in a question


@dataclass
class Account:
    """What one session did. `told` counts the decisions that the page called stored, `sent` all that were sent.

    A decision of a gallery is (reviewer, sample, decision, new label), an answer is (reviewer, token).
    """

    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in ACTIONS})
    faults: list[tuple[str, str]] = field(default_factory=list)
    sent: Counter = field(default_factory=Counter)
    told: Counter = field(default_factory=Counter)
    conflicts: int = 0
    broke: bool = False


class Person:
    """Who works in a session: what is done next, and the account of it."""

    def __init__(self, url: str, name: str, pause: float, seed: Sequence[int]):
        self.tab, self.name, self.pause = Tab(url, name), name, pause
        self.random = np.random.default_rng(seed)
        self.account = Account(faults=self.tab.faults)
        self.said: dict[int, tuple] = {}  # the last decision on a sample in the gallery
        self.answered: set[int] = set()
        self.at: dict[str, int] = {}

    async def work(self, until: float) -> None:
        """Act and pause until the clock says so, and at least AT_LEAST times."""
        done = 0
        try:
            await self._pause()
            await self.tab.arrive("labels", self._address("labels"))
            while True:
                await self._pause()
                if time.perf_counter() >= until and done >= AT_LEAST:
                    break
                done += 1
                shares = SHARES[self.tab.page]
                await self.act(str(self.random.choice(list(shares), p=list(shares.values()))))
        except Broken as error:
            self.account.broke = True
            self.tab.fault("session", str(error))
        finally:
            await self.tab.leave()

    async def _pause(self) -> None:
        await asyncio.sleep(self.random.exponential(self.pause))

    async def act(self, action: str) -> None:
        does = {
            "page turn": self._turn,
            "decision": self._decide,
            "answer": self._answer,
            "drawer": self._drawer,
            "next page": self._go,
        }
        took = await does[action]()
        if took is not None:
            self.account.times[action].append(took)

    def _address(self, page: str) -> dict[str, str]:
        """What the address of a page says: of a gallery how many a page, and the page that this session is at."""
        if page not in GALLERIES:
            return {}
        _, key, per, many = GALLERIES[page]
        number = self.at.setdefault(page, int(self.random.integers(1, PAGES + 1)))
        return {per: many, key: str(number)}

    async def _go(self) -> float:
        pages = list(SHARES)
        page = pages[(pages.index(self.tab.page) + 1) % len(pages)]
        took = await self.tab.visit(page, self._address(page))
        await self._ask_again()
        return took

    async def _turn(self) -> float | None:
        gallery, key, _, _ = GALLERIES[self.tab.page]
        place = self.tab.places.get(key)
        if place is None:
            return None
        before = self._tiles(gallery)
        now, last = self.at[self.tab.page], min(PAGES, place.data["pages"])
        now = now if now <= place.data["pages"] else 1  # as the app takes a page that is not there
        self.at[self.tab.page] = now + 1 if now < last else 1
        took = await self.tab.set_page(place, key, self.at[self.tab.page])
        if last > 1 and self._tiles(gallery) == before:
            self.tab.fault("stale", f"{self.tab.page}, page {self.at[self.tab.page]} of {last}")
        return took

    def _tiles(self, gallery: str) -> list[int]:
        place = self.tab.places.get(gallery)
        return [] if place is None else [tile["id"] for tile in place.data["tiles"]]

    async def _drawer(self) -> float | None:
        """Opened, read, and closed; the time is that of the opening. Its lower part is asked for as it is seen."""
        gallery = self.tab.places.get(GALLERIES[self.tab.page][0])
        if gallery is None:
            return None
        took = await self.tab.trigger(
            gallery, "open", int(self.random.choice(self._tiles(GALLERIES[self.tab.page][0])))
        )
        for key in [one for one in self.tab.places if one.startswith("later-drawer")]:
            await self.tab.trigger(self.tab.places.pop(key), "seen", _now())
        await self._pause()
        if "dialog" in self.tab.places:
            await self.tab.dismiss()
        else:
            self.tab.fault("page", "no drawer opened")
        return took

    async def _decide(self) -> float | None:
        """One tile, or one time in four up to six. Never what was said of one last: that would not be stored again."""
        gallery = self.tab.places.get(GALLERIES["labels"][0])
        if gallery is None:
            return None
        tiles = [tile for tile in gallery.data["tiles"] if tile["id"] not in self.answered]
        if not tiles:
            return None
        many = int(self.random.integers(2, 7)) if self.random.random() < 0.25 else 1
        tiles = [tiles[at] for at in self.random.permutation(len(tiles))[:many]]
        action = str(self.random.choice(["accept", "keep", "exclude", "unsure", "relabel"]))
        label = str(self.random.choice(gallery.data["labels"])) if action == "relabel" else None
        meant = {}
        for tile in tiles:
            new = tile["suggested"] or None if action == "accept" else label
            one = ("keep", None) if action == "relabel" and label == tile["given"] else (action, new)
            if self.said.get(tile["id"]) != one and not (action == "accept" and new is None):
                meant[tile["id"]] = one
        if not meant:
            return None
        rows = Counter({(self.name, sample, *one): 1 for sample, one in meant.items()})
        self.account.sent += rows
        value = {"action": action, "label": label, "ids": list(meant), "at": _now()}
        took = await self.tab.trigger(gallery, "act", value)
        self.said |= meant
        if any(icon == ":material/check:" for icon, _ in self.tab.toasts):
            self.account.told += rows
        else:
            self.tab.fault("silent", f"{action} on {list(meant)}: {self.tab.toasts}")
        return took

    async def _answer(self) -> float | None:
        """Any of the choices. Skipped where the page says that another reviewer was quicker."""
        card = self.tab.places.get("question")
        if card is None:  # all is answered, or open in other windows
            return await self._go()
        token, choices = card.data["token"], [one["id"] for one in card.data["choices"]]
        value = {
            "token": token,
            "choice": str(self.random.choice(choices)),
            "comment": "",
            "seconds": 1.0,
            "at": _now(),
        }
        self.account.sent[self.name, token] += 1
        self.answered |= {int(SAMPLE.search(image["id"])[1]) for image in card.data["images"]}
        took = await self.tab.trigger(card, "answer", value)
        after = self.tab.places.get("question")
        if after is None or after.data["said"].startswith(STORED):
            self.account.told[self.name, token] += 1
        elif MEANWHILE in after.data["notice"]:
            self.account.conflicts += 1
            self.account.sent[self.name, token] -= 1
            await self.tab.trigger(after, "skip", {"token": after.data["token"], "at": _now()})
        else:
            self.tab.fault("silent", f"answer {value['choice']}: {after.data['notice']}")
        return took

    async def _ask_again(self) -> None:
        """Of the images of a question the server sends those only once; a page that was left has lost them."""
        card = self.tab.places.get("question")
        lost = [image["id"] for image in card.data["images"] if image["held"]] if card else []
        if lost:
            await self.tab.trigger(card, "lost", {"ids": lost, "at": _now()})


async def walk(url: str) -> None:
    """Show each page of each gallery once, a drawer and a question."""
    one = Person(url, "Wanda", 0.0, (0,))
    one.at = dict.fromkeys(GALLERIES, 1)
    await one.tab.arrive("labels", {"per": "60"})
    for page in SHARES:
        if page in GALLERIES:
            for _ in range(PAGES):
                await one.act("page turn")
            await one.act("drawer")
        await one.act("next page")
    await one.tab.leave()
    if one.tab.faults:
        raise SystemExit(f"a single walk through the pages failed: {one.tab.faults[:3]}")


def _now() -> int:
    return int(1000 * time.time())
