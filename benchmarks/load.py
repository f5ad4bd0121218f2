"""Many sessions at once: whether they hold, what goes wrong, the server's memory over time, and how long actions take.

    python benchmarks/load.py [RUN] [--sessions 20] [--minutes 10] [--one 3] [--pause 2] [--keep FOLDER] [--seed 0]

Starts the app's server on loopback with RUN, or with a run of 50,000 samples whose images are the demo's enlarged to
224 pixels (generated_run.py, in a temporary folder or in FOLDER; nothing is trained), walks once through all that is
shown later, so that no thumbnail is cold, lets one session work alone as the yardstick, then all of them, and compares
the decisions that each was told are stored with the run's store. Prints one table, and exits with 1 where a session
broke, anything went wrong or a decision was lost or doubled.

A session is a websocket that speaks Streamlit's protocol (load_tab.py), not Chromium: twenty of those would measure
themselves on a small machine. Like a browser it fetches the files of Streamlit's page and those that messages name,
each once; has its cookies, origin and reviewer's name; keeps messages as long as the page does and is sent references
to them; sends what the page and our components send, with the address as it then is; asks for what comes into view in
the drawer; decodes no image, but looks whether each came and begins as one. Unlike a browser it draws and runs
nothing, lets parts of the page that it does not touch send nothing (the state of an untouched widget is left out),
fetches no scripts that others load later, and never closes and comes back. An action's time is from its message sent
to the rerun finished with all of it received; what a browser needs to paint comes on top.

Each session turns pages of 60 (Mislabeled) and of 24 (Loss prints), decides on one tile or several (Mislabeled) and
answers questions (Review), opens a sample's drawer and closes it, and goes on to the next of the three pages, at
random in the shares of load_people.SHARES, within the first 20 pages of a gallery. Between two actions it pauses, for
--pause seconds on average, exponentially distributed. Shares and pauses are the same for one session and for many.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dashboard
import generated_run
import numpy as np
import pandas as pd
from load_people import ACTIONS, Account, Person, walk
from load_tab import KINDS
from review_sessions import copied

SAMPLES, PHOTO = 50_000, 224
AFTER = 150.0  # seconds after which Streamlit has let go of a session that left: two minutes, looked at each so often
AFTERWARDS = f"{AFTER:.0f} s after all have left"


# ---------------------------------------------------------------------------------------------- many sessions


@dataclass
class Phase:
    """What came of some sessions at once. `memory`: (minutes, MB); `server`, `clients`: processor seconds."""

    accounts: list[Account]
    minutes: float
    memory: list[tuple[float, float]]
    server: float
    clients: float

    def times(self, action: str) -> np.ndarray:
        """Milliseconds of an action in all sessions."""
        return 1000 * np.array([one for account in self.accounts for one in account.times[action]])

    def faults(self, kind: str) -> list[str]:
        return [text for account in self.accounts for of, text in account.faults if of == kind]


def megabytes(pid: int) -> float:
    return 1000 * dashboard.used(pid)[0]


def busy(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def together(url: str, pid: int, names: list[str], minutes: float, pause: float, seed: int) -> Phase:
    """Let a session of each name work for so long, and look at the server's memory every five seconds."""
    people = [Person(url, name, pause, (seed, at)) for at, name in enumerate(names)]
    began, spent, own = time.perf_counter(), busy(pid), time.process_time()
    memory = []

    async def watch() -> None:
        with suppress(OSError):  # the server has ended
            while True:
                memory.append(((time.perf_counter() - began) / 60, megabytes(pid)))
                await asyncio.sleep(min(5.0, 60 * minutes / 10))

    watching = asyncio.create_task(watch())
    async with asyncio.TaskGroup() as group:
        for one in people:
            group.create_task(one.work(began + 60 * minutes))
    watching.cancel()
    took = (time.perf_counter() - began) / 60
    return Phase([one.account for one in people], took, memory, busy(pid) - spent, time.process_time() - own)


def compared(accounts: list[Account], history: pd.DataFrame) -> tuple[Counter, Counter]:
    """The decisions that were called stored and are not, and those stored more often than they were sent."""
    rows = history[history["decision"] != "undo"].astype(object)
    rows = rows.where(rows.notna(), None)
    stored: Counter = Counter()
    for row in rows.itertuples():
        if row.token is None:
            stored[row.reviewer, int(row.sample), row.decision, row.new_label] += 1
        elif row.token.endswith(":0"):  # an answer on a group has a row for each of its samples
            stored[row.reviewer, row.token[:-2]] += 1
    told = sum((account.told for account in accounts), Counter())
    sent = sum((account.sent for account in accounts), Counter())
    return told - stored, stored - sent


# ---------------------------------------------------------------------------------------------- the table


def growth(memory: list[tuple[float, float]]) -> tuple[float, float]:
    """MB by which memory grew over the second half, and MB a minute by a straight line through it."""
    half = np.array([one for one in memory if one[0] >= memory[-1][0] / 2])
    if len(half) < 3:
        return float("nan"), float("nan")
    return float(half[-1, 1] - half[0, 1]), float(np.polyfit(*half.T, 1)[0])


def cell(times: np.ndarray, yardstick: np.ndarray | None = None) -> str:
    """`median / p95 ms (times the yardstick's)`."""
    if not len(times):
        return "none"
    found = np.quantile(times, [0.5, 0.95])
    text = " / ".join(f"{one:,.0f}" for one in found)
    if yardstick is not None and len(yardstick):
        text += f" ({' / '.join(f'{one:.1f}' for one in found / np.quantile(yardstick, [0.5, 0.95]))} x)"
    return text


def table(one: Phase, many: Phase, lost: Counter, doubled: Counter, memory: dict[str, float]) -> list[str]:
    def both(what: str, of) -> str:
        return f"| {what} | {of(one)} | {of(many)} |"

    def held(phase: Phase) -> str:
        return f"{sum(not account.broke for account in phase.accounts)} of {len(phase.accounts)}"

    def done(phase: Phase) -> int:
        return sum(len(phase.times(name)) for name in ACTIONS)

    def actions(phase: Phase) -> str:
        return f"{done(phase):,} in {phase.minutes:.1f} min ({done(phase) / phase.minutes / 60:.1f} a second)"

    rows = [f"| | one session | {len(many.accounts)} sessions |", "| --- | --- | --- |"]
    rows += [both("sessions held to the end", held), both("actions", actions)]
    rows += [both(what, lambda phase, kind=kind: len(phase.faults(kind))) for kind, what in KINDS.items()]
    rows.append(both("decisions acknowledged", lambda phase: f"{sum(a.told.total() for a in phase.accounts):,}"))
    rows.append(f"| decisions lost, doubled, of both | | {lost.total()}, {doubled.total()} |")
    rows.append(both("answers that the page called overtaken", lambda phase: sum(a.conflicts for a in phase.accounts)))
    shown = {name: [phase.times(name) for phase in (one, many)] for name in ACTIONS}
    shown["any action"] = [np.concatenate([phase.times(name) for name in ACTIONS]) for phase in (one, many)]
    for name, (alone, crowd) in shown.items():
        what = f"{name}, median / p95 ms ({len(alone):,} and {len(crowd):,} of them)"
        rows.append(f"| {what} | {cell(alone)} | {cell(crowd, alone)} |")
    rows.append(
        both("processor of the server, ms an action", lambda phase: f"{1000 * phase.server / max(1, done(phase)):,.0f}")
    )
    rows.append(both("cores busy: server", lambda phase: f"{phase.server / phase.minutes / 60:.2f}"))
    rows.append(both("cores busy: all clients", lambda phase: f"{phase.clients / phase.minutes / 60:.2f}"))
    sizes = ", ".join(f"{size:,.0f}" for size in each_minute(many.memory))
    more, rate = growth(many.memory)
    rows += [f"| RSS {when}, MB | | {size:,.0f} |" for when, size in memory.items() if when != AFTERWARDS]
    rows += [
        f"| RSS at each minute, MB | | {sizes} |",
        f"| growth over the second half, MB; MB a minute | | {more:+.1f}; {rate:+.2f} |",
    ]
    if AFTERWARDS in memory:
        rows.append(f"| RSS {AFTERWARDS}, MB | | {memory[AFTERWARDS]:,.0f} |")
    return rows


def each_minute(memory: list[tuple[float, float]]) -> list[float]:
    """The sizes at the first look of each minute, and the last."""
    first = {int(at): size for at, size in reversed(memory)}
    return [first[minute] for minute in sorted(first)] + [memory[-1][1]]


def measured(run: Path, options) -> tuple[list[str], bool]:
    """The rows of the table, and whether all went well."""
    from lossprint.audit.review.reviews import open_reviews
    from lossprint.audit.runs.open import open_run

    names = [f"Reviewer {at + 1}" for at in range(options.sessions)]
    with dashboard.ours(run) as (url, server):
        memory = {"at the start": megabytes(server.pid)}
        asyncio.run(walk(url))
        memory["after the warm-up"] = megabytes(server.pid)
        how = (options.pause, options.seed)
        one = asyncio.run(together(url, server.pid, ["Solo"], options.one, *how))
        memory["after one session"] = megabytes(server.pid)
        many = asyncio.run(together(url, server.pid, names, options.minutes, *how))
        if options.after:
            time.sleep(options.after)
            memory[AFTERWARDS] = megabytes(server.pid)
    with open_reviews(open_run(run)) as kept:
        history = kept.history()
    lost, doubled = compared([*one.accounts, *many.accounts], history)
    for phase in (one, many):
        for kind in KINDS:
            for text in phase.faults(kind)[:10]:
                print(f"{kind}: {text}", file=sys.stderr)
    for what, which in (("lost", lost), ("doubled", doubled)):
        for name in list(which)[:10]:
            print(f"{what}: {name}", file=sys.stderr)
    wrong = any(phase.faults(kind) for phase in (one, many) for kind in KINDS)
    return table(one, many, lost, doubled, memory), not (wrong or lost or doubled)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="a run; what is decided goes to a copy of it")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--one", type=float, default=3, metavar="MINUTES", help="of the single session")
    parser.add_argument("--pause", type=float, default=2, metavar="SECONDS", help="between two actions, on average")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where to make the run, or where it was made")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.after = AFTER
    with tempfile.TemporaryDirectory() as folder:
        made = options.run or generated_run.make(options.keep or Path(folder) / "made", SAMPLES, photo=PHOTO)
        print(f"load average beforehand: {' '.join(f'{one:.2f}' for one in os.getloadavg())}", flush=True)
        rows, well = measured(copied(made, folder), options)
    print(f"load average afterwards: {' '.join(f'{one:.2f}' for one in os.getloadavg())}\n")
    print("\n".join(rows))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
