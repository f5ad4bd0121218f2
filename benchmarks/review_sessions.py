"""Several reviewers at once in real browser sessions, while the server is killed and started again. See review.py.

Each of them behaves as people do: answers what is asked, by a key; presses again where nothing happens; reloads a page
that stays as it was; skips what the page calls answered, by themselves or by somebody else just now. What the page
calls stored is noted by the token of the question, which the store keeps too.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
NAMES = ("Ann", "Bo Æ.", "Cay", "D'Arcy", "Eve", "Fay", "Gus", "Hal")
PATIENT = 8.0  # seconds without a next question before a reviewer presses again
STUCK = 3  # times in a row before the page is loaded again
LOADING = 60.0  # seconds for a page to come, the server's start among them
LIMIT = 1800.0  # seconds for everything
SEES = """(card) => ({
  token: card.dataset.token,
  notice: card.querySelector(".notice").textContent,
  said: card.querySelector(".said").textContent,
  choices: [...card.querySelectorAll(".choices button")]
    .map((one) => [one.dataset.choice, one.querySelector("kbd")?.textContent]).filter((one) => one[1]),
})"""
# Until the question or its notice is another one, or the card is gone, or the time is up
CHANGES = """(card, [token, notice, ms]) => new Promise((done) => {
  const began = performance.now()
  const look = () =>
    !card.isConnected || card.dataset.token !== token || card.querySelector(".notice").textContent !== notice
      || performance.now() - began > ms ? done() : setTimeout(look, 20)
  look()
})"""
# The token that is on the card at the moment of the next key: a redraw may have renewed it since the card was looked at
NOTES = """(card) => {
  window.lossprintPressed = null
  const note = () => (window.lossprintPressed = card.dataset.token)
  document.addEventListener("keydown", note, { capture: true, once: true })
}"""


@dataclass
class Account:
    """What one reviewer was told: {token: choice} of what the page called stored, and what went otherwise."""

    stored: dict[str, str] = field(default_factory=dict)
    pressed: dict[str, str] = field(default_factory=dict)  # every answer given, whatever came of it
    conflicts: int = 0
    refused: int = 0
    again: int = 0
    reloads: int = 0


class Server:
    """The app on a port that stays the same, to be killed and started again."""

    def __init__(self, run: Path, database: str | None):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "lossprint.app.serve", str(run), "--port", str(self.port), "--no-browser"]
        self.environment = {name: value for name, value in os.environ.items() if name != "LOSSPRINT_DATABASE_URL"}
        self.environment |= {"LOSSPRINT_DATABASE_URL": database} if database else {}

    def __enter__(self) -> "Server":
        self.log = tempfile.TemporaryFile("w+")
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.kill()
        self.log.close()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, env=self.environment, stdout=self.log, stderr=self.log, start_new_session=True
        )
        deadline = time.monotonic() + LOADING
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5).read()
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                self.log.seek(0)
                raise SystemExit(f"the server did not start: {self.log.read()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: nothing is put in order first."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


# ---------------------------------------------------------------------------------------------- reviewers


async def review(context, url: str, name: str, decisions: int, account: Account, seed: int) -> None:
    """Answer until the page has called so many answers stored. Raises SystemExit where it goes on no more."""
    random = np.random.default_rng(seed)
    page = await context.new_page()
    card = page.locator(".card[data-token]")
    await _arrive(page, card, url)
    await _introduce(page, name)
    given, stuck = None, 0  # the token of the answer of which nothing is known yet
    while len(account.stored) < decisions:
        seen = await _look(card)
        if seen is None or stuck >= STUCK:
            account.reloads += 1
            stuck = 0
            await _arrive(page, card, url)
            continue
        if given is not None and seen["token"] != given:
            if seen["said"].startswith("Stored") or f"Answered before by {name}:" in seen["notice"]:
                account.stored[given] = account.pressed[given]
            given = None
            continue
        mine, theirs = "Answered before by" in seen["notice"], "answered this meanwhile" in seen["notice"]
        account.conflicts += theirs
        account.refused += "not stored" in seen["notice"]
        if mine or theirs:
            await page.keyboard.press("s")
        else:
            choice, key = seen["choices"][random.integers(len(seen["choices"]))]
            with suppress(Exception):  # the card went away meanwhile
                await card.evaluate(NOTES, timeout=1000 * PATIENT)
            await page.keyboard.press(key.lower())
            pressed = await page.evaluate("window.lossprintPressed") or seen["token"]
            account.again += pressed == given
            given = pressed
            # The first press is what a repeated one repeats. On a renewed card the key may have meant something else.
            account.pressed.setdefault(given, choice if pressed == seen["token"] else "")
        before = seen["token"]
        with suppress(Exception):  # the card went away meanwhile
            await card.evaluate(CHANGES, [before, seen["notice"], 1000 * PATIENT], timeout=2000 * PATIENT)
        after = await _look(card)
        stuck = stuck + 1 if after is not None and after["token"] == before else 0
    await page.close()


async def _look(card) -> dict | None:
    from playwright.async_api import Error

    with suppress(Error):
        return await card.evaluate(SEES, timeout=1000 * PATIENT)
    return None


async def _arrive(page, card, url: str) -> None:
    """Open the review page, again and again while the server is away."""
    from playwright.async_api import Error

    deadline = time.monotonic() + LOADING
    while True:
        try:
            await page.goto(f"{url}/review", timeout=1000 * LOADING)
            await card.wait_for(timeout=1000 * LOADING / 3)
            return
        except Error as error:
            if time.monotonic() > deadline:
                told = (await page.inner_text("body"))[:500]
                raise SystemExit(f"the review page did not come: {error} {told}") from None
            await asyncio.sleep(0.2)


async def _introduce(page, name: str) -> None:
    """Type one's name where it is asked for; the browser remembers it."""
    box = page.get_by_label("Reviewer", exact=True)
    await box.fill(name)
    await box.press("Enter")
    await page.wait_for_function("document.cookie.includes('lossprint_reviewer')", polling=50)
    await box.blur()


async def disturb(server: Server, accounts: dict[str, Account], at: list[int]) -> None:
    """Kill the server when so many answers are stored in all, and start it again."""
    for number in at:
        while sum(len(one.stored) for one in accounts.values()) < number:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.start)


async def together(server: Server, accounts: dict[str, Account], decisions: int, kills: int) -> None:
    from playwright.async_api import async_playwright

    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = os.environ.get("LOSSPRINT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    total = decisions * len(accounts)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        contexts = [await browser.new_context(viewport={"width": 1440, "height": 900}) for _ in accounts]
        tasks = [
            review(context, server.url, name, decisions, account, seed)
            for seed, (context, (name, account)) in enumerate(zip(contexts, accounts.items()))
        ]
        tasks.append(disturb(server, accounts, [total * (k + 1) // (kills + 1) for k in range(kills)]))
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
        await browser.close()


def run_sessions(run: Path, database: str | None, reviewers: int, decisions: int, kills: int) -> tuple[dict, float]:
    """{name: Account} and the seconds it took; the decisions are in the run's store, or in the database at the URL."""
    accounts = {name: Account() for name in NAMES[:reviewers]}
    with Server(run, database) as server:
        began = time.monotonic()
        asyncio.run(together(server, accounts, decisions, kills))
        return accounts, time.monotonic() - began


# ---------------------------------------------------------------------------------------------- what came of it

COLUMNS = {"reviewer": 10, "told stored": 13, "in store": 10, "told of a conflict": 20, "pressed again": 15}
COLUMNS |= {"page reloaded": 0}
SAME = ("accept", "keep", "exclude", "unsure")  # choices that are named after the decision on a single sample


def faults(accounts: dict[str, Account], history: pd.DataFrame) -> dict[str, list]:
    """What went wrong, by `Reviews.history`: lost, doubled, shared, changed, foreign; empty lists where nothing did.

    lost: tokens called stored that are not. doubled: findings that one reviewer answered twice, and rows stored twice.
    shared: findings that stand answered by several. changed: stored otherwise than pressed. foreign: stored under
    another name.
    """
    rows = history[history["decision"] != "undo"]
    rows = rows.assign(asking=rows["token"].str.rsplit(":", n=1).str[0])
    who = dict(zip(rows["asking"], rows["reviewer"]))
    what = rows[rows.groupby("asking")["asking"].transform("size") == 1].set_index("asking")["decision"]
    each = rows[rows["stands"]].groupby(["finding", "reviewer"])["asking"].nunique()
    by = rows[rows["stands"]].groupby("finding")["reviewer"].nunique()
    told = {token: (name, choice) for name, one in accounts.items() for token, choice in one.stored.items()}
    pressed = {token: name for name, one in accounts.items() for token in one.pressed}
    return {
        "lost": [token for token in told if token not in who],
        "doubled": [*each.index[each > 1], *rows.loc[rows["token"].duplicated(), "token"]],
        "shared": list(by.index[by > 1]),
        "changed": [
            token for token, (_, choice) in told.items() if choice in SAME and what.get(token, choice) != choice
        ],
        "foreign": [token for token, name in who.items() if pressed.get(token) != name],
    }


@contextmanager
def databases(kind: str) -> Iterator[str | None]:
    """The URL of a fresh PostgreSQL, run by the tests' own code; None for SQLite in the run folder."""
    if kind == "sqlite":
        yield None
        return
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "support"))
    from postgres import new_database, running_postgresql

    with running_postgresql() as server:
        yield new_database(server)


def copied(run: Path, folder: str) -> Path:
    """A copy of a run without its decisions."""
    return Path(shutil.copytree(run, Path(folder) / "run", ignore=shutil.ignore_patterns("reviews.db*")))


def sessions(options) -> None:
    """Print what each reviewer was told and what is in the store; exit 1 where something went wrong."""
    from lossprint.audit import open_run
    from lossprint.audit.review.reviews import open_reviews

    wrong = False
    for kind in options.database:
        with tempfile.TemporaryDirectory() as folder, databases(kind) as url:
            run = copied(options.run, folder)
            accounts, seconds = run_sessions(run, url, options.reviewers, options.decisions, options.kills)
            with open_reviews(open_run(run), url) as reviews:
                history = reviews.history()
        print(f"\n{kind}: {options.reviewers} sessions, server killed {options.kills} times, {seconds:.0f} s")
        print("".join(f"{name:<{width}}" for name, width in COLUMNS.items()))
        for name, one in accounts.items():
            here = history.loc[history["reviewer"] == name, "token"].str.rsplit(":", n=1).str[0].nunique()
            cells = (name, len(one.stored), here, one.conflicts, one.again, one.reloads)
            print("".join(f"{cell:<{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=True)))
        found = faults(accounts, history)
        wrong |= any(found.values())
        print(", ".join(f"{name} {len(which)}" for name, which in found.items()), flush=True)
    if wrong:
        raise SystemExit(1)
