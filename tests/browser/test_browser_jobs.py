"""An audit of a small folder, started from the app: the page is closed, and the run is there when one comes back."""

import time

import numpy as np
import pytest
from browser import MARKS, check_access, eventually, idle, serving, watched
from helpers import free_port
from PIL import Image

from lossprint.audit.runs.open import open_run
from lossprint.audit.workflow import jobs

pytestmark = MARKS


@pytest.fixture
def served(tmp_path):
    """A folder without runs, with a dataset of two classes in it."""
    rng = np.random.default_rng(0)
    for label, shade in {"dark": 60, "light": 200}.items():
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for number in range(24):
            pixels = np.clip(rng.normal(shade, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def test_an_audit_is_started_the_page_closed_and_the_run_opened(chromium, served):
    with serving(served, free_port()) as base:
        with watched(chromium) as page:
            page.goto(base)
            page.get_by_role("heading", name="Runs & jobs").wait_for()
            page.get_by_role("combobox", name="Go into a folder").click()
            page.get_by_role("option", name="photos").click()
            page.get_by_text("48 images in 2 folders").wait_for()
            page.get_by_role("textbox", name="Name of the run").fill("first")
            page.get_by_role("spinbutton", name="Epochs").fill("2")
            page.get_by_role("spinbutton", name="Epochs").press("Tab")
            page.get_by_text("--epochs 2").wait_for()
            check_access(page, "a new audit")
            page.get_by_role("button", name="Start the audit").click()
            page.get_by_text("Audit of photos").first.wait_for()
        (job,) = jobs.jobs(served)
        until = time.monotonic() + 180
        while jobs.state(job) == jobs.WORKING and time.monotonic() < until:
            time.sleep(0.2)
        assert jobs.state(job) == jobs.DONE, jobs.tail(job)
        with watched(chromium) as page:
            page.goto(f"{base}/runs")
            page.get_by_text("Earlier jobs").click()
            page.get_by_role("link", name="Open the run").click()
            page.get_by_role("heading", name="Overview", exact=True).wait_for()
            idle(page)
            eventually(lambda: "run=first" in page.evaluate("window.location.href"))
    assert open_run(served / "first").manifest["asked"]["epochs"] == 2
