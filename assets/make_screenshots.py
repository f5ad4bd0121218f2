"""Pictures of every page for the documentation, taken from a real run in a headless Chromium.

    python assets/make_screenshots.py RUN [--out assets/docs]

Wide (1440 x 900) and narrow (400 x 900), light and dark. Nothing is decided in the run: it is only looked at.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTHS = {"wide": 1440, "narrow": 400}
HEIGHT = 900
THEMES = ("light", "dark")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
PAGES = {
    "overview": "",
    "explore": "explore",
    "labels": "labels",
    "sample": "labels?open={sample}",
    "duplicates": "duplicates",
    "outliers": "outliers",
    "classes": "classes",
    "map": "map",
    "prints": "prints",
    "story": "sample?sample={sample}",
    "pairs": "pairs?sample={sample}",
    "review": "review",
    "stop": "stop",
    "reviewers": "reviewers",
    "disagreements": "disagreements",
    "loop": "loop",
    "coreset": "coreset",
    "export": "export",
    "help": "help",
}


def settled(page: Page) -> None:
    """Wait until the script has run, the charts are drawn and the images are decoded."""
    page.get_by_test_id("stMain").get_by_role("heading").first.wait_for()
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
        " && !document.querySelector('[data-stale=true], [data-testid=stSkeleton]')"
        " && [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(e => e.querySelector('.main-svg'))"
    )
    page.wait_for_timeout(600)  # fonts and the drawer's movement


def worst_label(run: Path) -> int:
    """The sample with the most suspicious label, else the first one."""
    from lossprint.audit import open_run

    findings = open_run(run).findings()
    wrong = findings[findings["kind"] == "label_error"].sort_values("rank")
    return int(wrong["sample"].iloc[0]) if len(wrong) else int(open_run(run).samples()["sample"].iloc[0])


def take(base: str, out: Path, sample: int) -> None:
    names = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
    path = os.environ.get("LOSSPRINT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for theme in THEMES:
            for width, pixels in WIDTHS.items():
                context = browser.new_context(viewport={"width": pixels, "height": HEIGHT}, color_scheme=theme)
                page = context.new_page()
                for name, query in PAGES.items():
                    page.goto(f"{base}/{query.format(sample=sample)}")
                    settled(page)
                    file = out / f"{name}-{width}-{theme}.png"
                    page.screenshot(path=file)
                    shrink(file)
                context.close()
        browser.close()


def shrink(file: Path) -> None:
    """Fewer colours: a screenshot needs no more than 256, and the repository stays small."""
    with Image.open(file) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(file, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "docs")
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lossprint.app.serve", str(options.run), "--port", str(port), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            base = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{base}/_stcore/health", timeout=5).read()
                    break
                except OSError:
                    time.sleep(0.1)
            take(base, options.out, worst_label(options.run))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
