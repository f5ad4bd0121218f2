"""How quick the dashboard is in a headless Chromium, beside an empty Streamlit app with one button, and its memory.

    python benchmarks/dashboard.py speed memory --keep FOLDER [--samples 50000 1000000] [--images IDX] [--photo 224]
    python benchmarks/dashboard.py peer --keep FOLDER --samples 50000 --peer-python VENV/bin/python

Makes a run of each size in FOLDER with `generated_run.py`, unless it is there. All times are taken inside the page
(`dashboard.js`), from the navigation's start or the pointer's press to the frame after everything that was waited for
is there, images decoded: medians of `--repeats`. Ours and the empty app's are taken by turns, in one browser, whose
cache is warm for both; the first visit after the server's start is told apart as cold.

  speed    F: going to the empty app until its button is painted. R: a click on it until the new count is painted.
           first page: going to the overview until its heading, tiles of numbers and all thumbnails in view are painted
           page of 60: the next page of Mislabeled, all of its thumbnails
           filter: another class, chosen in the open list, likewise
           opening: a click on a thumbnail until the drawer has its image and its loss chart
  memory   RSS and PSS of the server after its start, after every page was visited (with each page's time, first and
           second visit), and over `--turns` pages turned, with the growth by a straight line through its last half
  peer     LightlyStudio in an environment of its own (`pip install lightly-studio`), on the same images, indexed
           beforehand without embeddings, as ours are audited beforehand: from the start of the process to the first
           thumbnails painted, and to the next ones, one height of its list further down; ours beside it, in the same
           way. A fresh browser each; medians of 5
"""

import argparse
import multiprocessing
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import generated_run
import numpy as np

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
TARGETS = {
    "first page": ("F", 1.5, 2.0),
    "page of 60": ("R", 4.0, 5.0),
    "filter": ("R", 4.0, 8.0),
    "opening": ("R", 4.0, 5.0),
}
LARGE = 200_000  # samples from which the second target holds
GIGABYTES = 1.5
PER_PAGE = 60
NEXT = 10  # times that the peer and ours go on to the next thumbnails

EMPTY = """
import streamlit as st
st.session_state.setdefault("count", 0)
def more():
    st.session_state["count"] += 1
st.button("More", on_click=more)
st.text(f"count {st.session_state['count']}")
"""
SERVE_EMPTY = """
import sys
import streamlit as st
st.App(sys.argv[1]).run(config={"server.address": "127.0.0.1", "server.port": int(sys.argv[2]), "server.headless": True,
    "server.fileWatcherType": "none", "browser.gatherUsageStats": False})
"""
PEER = """
import sys
import lightly_studio as studio
from lightly_studio.database import db_manager
if __name__ == "__main__":
    what, file, images, samples, port = sys.argv[1:]
    db_manager.connect(db_file=file)
    if what == "index":
        studio.ImageDataset.create().add_images_from_path(path=images, embed=False, limit=int(samples))
    else:
        studio.ImageDataset.load()
        studio.start_gui(host="127.0.0.1", port=int(port), open_browser=False)
"""


# ---------------------------------------------------------------------------------------------- servers and browser


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(command: list[str], port: int, health: str = "") -> Iterator[tuple[str, subprocess.Popen]]:
    """The URL and the process of a server, from when it answers until the block ends; its children end with it."""
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True) as server,
    ):
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{health}", timeout=5).read()
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > deadline:
                        said.seek(0)
                        raise SystemExit(f"{' '.join(command[:3])} did not serve: {said.read()[-2000:]}") from None
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}", server
        finally:
            os.killpg(server.pid, 15)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, 9)


def ours(run: Path):
    port = free_port()
    command = [sys.executable, "-m", "lossprint.app.serve", str(run), "--port", str(port), "--no-browser"]
    return serving(command, port, "_stcore/health")


def empty(folder: str, app: str = EMPTY):
    script, port = Path(folder) / "empty.py", free_port()
    script.write_text(app)
    return serving([sys.executable, "-c", SERVE_EMPTY, str(script), str(port)], port, "_stcore/health")


@contextmanager
def browsing() -> Iterator[Callable]:
    """A function that opens a new page, 1440 x 900, in one context of one Chromium."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = os.environ.get("LOSSPRINT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script(path=Path(__file__).with_suffix(".js"))
        context.set_default_timeout(120_000)
        yield context.new_page
        browser.close()


# ---------------------------------------------------------------------------------------------- single measurements


def went(page, url: str, *checks: str) -> list[float]:
    """Milliseconds from the start of the navigation until each check holds and is painted."""
    page.goto(url, wait_until="commit")
    return [page.evaluate(f"bench.until({check!r})") for check in checks]


def pressed(page, act: Callable[[], object], check: str, argument=None) -> float:
    """Milliseconds from the press of the pointer or a key within `act` until the check holds and is painted."""
    page.bring_to_front()  # Chromium draws a page in the background once a second
    page.evaluate("([check, argument]) => bench.arm(check, argument)", [check, argument])
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    act()
    return page.evaluate("bench.took()")


def settle(page) -> None:
    page.wait_for_function("bench.idle()", polling=50)


def gallery(page, base: str) -> None:
    """Mislabeled, PER_PAGE thumbnails a page, whole and at rest."""
    went(page, f"{base}/labels?per={PER_PAGE}", "whole")
    page.wait_for_function(f"document.title && bench.ids().split(',').length === {PER_PAGE}")


def turned(page) -> float:
    """The next page, or the first after the last one."""
    following = page.get_by_test_id("stPaginationNext")
    button = following if following.is_enabled() else page.get_by_role("button", name="Page 1", exact=True)
    took = pressed(page, button.click, "tiles", {"before": page.evaluate("bench.ids()")})
    settle(page)
    return took


def filtered(page, label: str, option: int) -> float:
    """An option of a list, by its position; the list is opened beforehand."""
    page.get_by_role("combobox", name=label).click()
    chosen = page.get_by_role("option").nth(option)
    took = pressed(page, chosen.click, "tiles", {"before": page.evaluate("bench.ids()")})
    settle(page)
    return took


def opened(page, at: int) -> float:
    took = pressed(page, page.locator(".tile").nth(at).click, "drawer")
    settle(page)
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    settle(page)
    return took


# ---------------------------------------------------------------------------------------------- speed


def speed(run: Path, samples: int, options) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        empty(folder) as (bare, _),
        browsing() as new_page,
        ours(run) as (base, _),
    ):
        cold = visit(new_page, base, "overview", "whole")
        visit(new_page, bare, "button")
        times = by_turns(new_page, base, bare, options.repeats)
    first, again = np.median(times.pop("F")), np.median(times.pop("R"))
    units = {"F": first, "R": again}
    print(f"\n{samples:,} samples: F {first:.0f} ms, R {again:.0f} ms, medians of {options.repeats}", flush=True)
    for name, values in times.items():
        unit, small, large = TARGETS.get(name, ("F", None, None))
        middle, low, high = np.quantile(values, [0.5, 0.1, 0.9])
        target = large if samples >= LARGE else small
        told = "" if target is None else f" | target {target:g} {unit} | {verdict(middle / units[unit], target)}"
        print(f"{name:<22} | {middle:6.0f} ms ({low:.0f} to {high:.0f}) | {middle / units[unit]:.2f} {unit}{told}")
    print(f"cold, first visit      | {cold[0]:6.0f} ms, whole page {cold[1]:.0f} ms", flush=True)


def verdict(ratio: float, target: float) -> str:
    return "met" if ratio <= target else f"missed by {100 * (ratio / target - 1):.0f} %"


def visit(new_page, url: str, *checks: str) -> list[float]:
    page = new_page()
    took = went(page, url, *checks)
    page.close()
    return took


def by_turns(new_page, base: str, bare: str, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each measurement, `repeats` of each, in turn, so that a busy moment falls on all of them."""
    names = ("F", "R", "first page", "whole first page", *list(TARGETS)[1:])
    times: dict[str, list[float]] = {name: [] for name in names}
    clicks, pages, filters, drawers = (new_page() for _ in range(4))
    went(clicks, bare, "button")
    for page in (pages, filters, drawers):
        gallery(page, base)
    options = filters.get_by_role("combobox", name="Given label")
    options.click()
    classes = filters.get_by_role("option").count() - 1
    filters.keyboard.press("Escape")
    for turn in range(repeats + 1):
        row = [visit(new_page, bare, "button")[0]]
        row.append(pressed(clicks, clicks.get_by_role("button", name="More").click, "count", turn + 1))
        row += visit(new_page, base, "overview", "whole")
        row.append(turned(pages))
        label = ("Given label", "Suggested label")[turn // classes % 2]
        if turn and turn % classes == 0:  # back to all before the other list is gone through
            filtered(filters, ("Suggested label", "Given label")[turn // classes % 2], 0)
        row.append(filtered(filters, label, 1 + turn % classes))
        row.append(opened(drawers, turn % PER_PAGE))
        if turn:  # the first of each warms up what a page uses for the first time
            for name, value in zip(names, row, strict=True):
                times[name].append(value)
    return times


# ---------------------------------------------------------------------------------------------- memory


def used(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process and its children in GB."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    lines = [line.split() for one in pids for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()]
    return tuple(sum(int(line[1]) for line in lines if line[0] == name) / 1e6 for name in ("Rss:", "Pss:"))


def peak(pid: int) -> float:
    """The most RSS that a process has had, in GB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6


def memory(run: Path, samples: int, options) -> None:
    with browsing() as new_page, ours(run) as (base, server):
        print(f"\n{samples:,} samples, memory of the server\nafter its start: RSS {used(server.pid)[0]:.2f} GB")
        page = new_page()
        cold = went(page, base, "whole")[0]
        print(f"{'overview, cold':<24} {cold / 1000:6.2f} s | RSS {used(server.pid)[0]:.2f} GB", flush=True)
        for turn in ("first visit", "second visit"):
            for link, name in links_of(page):
                took = followed(page, link, name)
                print(f"{name:<24} {took / 1000:6.2f} s | RSS {used(server.pid)[0]:.2f} GB | {turn}", flush=True)
        rss, pss = used(server.pid)
        told = "met" if peak(server.pid) <= GIGABYTES else "missed"
        print(f"after all pages: RSS {rss:.2f} GB, PSS {pss:.2f} GB")
        print(f"most that it ever held: RSS {peak(server.pid):.2f} GB | target {GIGABYTES} GB | {told}", flush=True)
        grown(page, base, server.pid, options.turns)


def links_of(page) -> Iterator[tuple]:
    """The link and the title of every page that the navigation leads to: each door, then the tabs behind it."""
    from lossprint.app import doors

    shown = page.get_by_test_id("stSidebarNavLink")
    for door in doors.DOORS:
        link = shown.filter(has_text=re.compile(f"{door.title}$"))
        if link.count():
            yield link, door.tabs[0].title
            for tab in door.tabs[1:]:
                link = page.locator(f'[class*=st-key-tabs] a[href^="{tab.name}?"]').first
                if not tab.within and link.count():
                    yield link, tab.title


def followed(page, link, title: str) -> float:
    """Milliseconds from the press on a link until its page is whole."""
    page.evaluate("window.bench.left = performance.now()")
    link.click()
    page.wait_for_timeout(150)  # the page that is left may still look at rest
    return page.evaluate("(title) => bench.until('whole', title).then((end) => end - bench.left)", title)


def grown(page, base: str, pid: int, turns: int) -> None:
    gallery(page, base)
    at, sizes = [], []
    for turn in range(turns + 1):
        if turn % max(1, turns // 10) == 0:
            at.append(turn)
            sizes.append(used(pid)[0])
            print(f"after {turn:3} pages turned: RSS {sizes[-1]:.3f} GB", flush=True)
        turned(page)
    half = len(at) // 2
    rates = [1e5 * np.polyfit(at[part:], sizes[part:], 1)[0] for part in (0, half) if len(at) - part > 1]
    print(f"growth in 100 pages: {rates[0]:+.1f} MB over all, {rates[-1]:+.1f} MB over the last half", flush=True)


# ---------------------------------------------------------------------------------------------- a peer


def peer(run: Path, samples: int, options) -> None:
    """Each tool from the start of its process, in a browser that has not seen it yet, by turns."""
    images, times = run.parent / "data" / "images", min(options.repeats, 5)
    rows = {"Lossprint": [], "LightlyStudio": []}
    with tempfile.TemporaryDirectory() as folder:
        if options.peer_python:
            print(f"LightlyStudio indexed {samples:,} images in {indexed(options, folder, images, samples):.0f} s")
        for _ in range(times):
            rows["Lossprint"].append(start_ours(run))
            if options.peer_python:
                rows["LightlyStudio"].append(start_peer(options, folder, images, samples))
    print(f"\n{samples:,} images, from the start of the process, medians of {times}")
    for name, found in rows.items():
        if found:
            first, following, count, size = np.median(found, axis=0)
            print(
                f"{name:<14} | {count:.0f} thumbnails {first:5.2f} s | the next {following:5.0f} ms | RSS {size:.2f} GB"
            )


def start_ours(run: Path) -> tuple[float, float, int, float]:
    """Seconds to the first page of Mislabeled, milliseconds to the next (median), thumbnails of a page, GB."""
    with browsing() as new_page:
        page, began = new_page(), time.monotonic()
        with ours(run) as (base, server):
            page.goto(f"{base}/labels?per={PER_PAGE}", wait_until="commit")
            page.evaluate("(count) => bench.until('tiles', {before: '', count})", PER_PAGE)
            first = time.monotonic() - began
            settle(page)
            return first, np.median([turned(page) for _ in range(NEXT)]), PER_PAGE, used(server.pid)[0]


def peer_command(options, folder: str, what: str, *more: object) -> list[str]:
    script = Path(folder) / "studio.py"
    script.write_text(PEER)
    os.environ["LIGHTLY_STUDIO_ANALYTICS_ENABLED"] = "false"
    return [options.peer_python, str(script), what, str(Path(folder) / "studio.db"), *map(str, more)]


def indexed(options, folder: str, images: Path, samples: int) -> float:
    """Seconds that the peer takes to read the images into its database, once."""
    began = time.monotonic()
    command = peer_command(options, folder, "index", images, samples, 0)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the peer could not index {images}: {done.stderr[-2000:]}")
    return time.monotonic() - began


def start_peer(options, folder: str, images: Path, samples: int) -> tuple[float, float, int, float]:
    """The same of the peer: it fills its list, which is then scrolled by its height."""
    port = free_port()
    command = peer_command(options, folder, "serve", images, samples, port)
    with browsing() as new_page:
        page, began = new_page(), time.monotonic()
        with serving(command, port) as (base, server):
            page.goto(base, wait_until="commit")
            page.wait_for_url("**/images", wait_until="commit")  # it leads on by itself
            page.evaluate("bench.until('pictures', [])")
            first = time.monotonic() - began
            page.get_by_text("Dismiss").click()
            page.wait_for_timeout(1000)
            count = len(page.evaluate("bench.pictures()"))
            return first, np.median([scrolled(page) for _ in range(NEXT)]), count, used(server.pid)[0]


def scrolled(page) -> float:
    """The peer's list, one height of it further down."""
    before = page.evaluate("bench.pictures()")
    took = pressed(page, lambda: page.evaluate("bench.scroll()"), "pictures", before)
    page.wait_for_timeout(300)
    return took


PARTS = {call.__name__: call for call in (speed, memory, peer)}


def name_of(samples: int) -> str:
    """gen50k, gen1m: the folder of a generated run."""
    for size, letter in ((1_000_000, "m"), (1000, "k")):
        if samples % size == 0:
            return f"gen{samples // size}{letter}"
    return f"gen{samples}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="where the generated runs are")
    parser.add_argument("--samples", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--images", type=Path, metavar="IDX", help="a gzipped IDX file; the demo's images without")
    parser.add_argument("--photo", type=int, metavar="PIXELS", help="enlarge the images to JPEGs of this size")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--peer-python", metavar="PYTHON", help="of an environment that has the peer")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"expected parts among {', '.join(PARTS)}, found {', '.join(unknown)}")
    print(f"{platform.machine()}, {multiprocessing.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    for samples in options.samples:
        folder = options.keep / (name_of(samples) + (f"-{options.photo}px" if options.photo else ""))
        run = generated_run.make(folder, samples, images=options.images, photo=options.photo)
        for name in options.parts or PARTS:
            PARTS[name](run, samples, options)


if __name__ == "__main__":
    main()
