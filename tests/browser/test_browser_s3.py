"""A run and its images in a bucket, in a real Chromium: copied here, its thumbnails are seen, decisions go back."""

from browser import MARKS, eventually, idle, serving, visit, watched
from conftest import cut_demo

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.sync import sync, syncing
from lossprint.audit.workflow.audit import audit

pytestmark = MARKS
URL = "s3://shown/runs/first"
TILES = ".st-key-gallery-label_error .tile"


def seen(page) -> int:
    """How many of the gallery's images the browser has drawn."""
    return page.locator(f"{TILES} img").evaluate_all("all => all.filter(one => one.naturalWidth > 0).length")


def test_a_run_from_a_bucket_is_shown_and_decided_on(s3, machine, chromium, tmp_path):
    cut_demo(tmp_path / "demo", 14, 4)
    s3.bucket("shown")
    s3.upload(tmp_path / "demo", "shown", "data/")
    machine("trainer")
    there, here = tmp_path / "trained", tmp_path / "viewed"
    with syncing(there, URL):
        run = audit("s3://shown/data/labels.csv", there, epochs=2, curvature_checkpoints=1, quiet=True)
    flagged = run.findings().query("kind == 'label_error'")["sample"].tolist()
    assert len(flagged) >= 3, "an untrained network doubts many labels"
    machine("viewer")  # has neither the run nor an image
    sync(URL, here)
    s3.asked.clear()
    with serving(here) as base, watched(chromium) as page:
        visit(page, f"{base}/labels?per=60", "Wrong labels")
        eventually(lambda: seen(page) == min(60, len(flagged)))
        first = s3.reads()
        assert len(first) == len(set(first)) >= min(60, len(flagged)), "each image is downloaded once"
        page.locator(TILES).first.focus()
        page.keyboard.press("k")
        page.locator(f"{TILES} .badge", has_text="kept").wait_for()
        idle(page)
        s3.asked.clear()
        visit(page, f"{base}/labels?per=60", "Wrong labels")
        eventually(lambda: seen(page) == min(60, len(flagged)))
        page.locator(f"{TILES} .badge", has_text="kept").wait_for()
        assert not s3.asked, "the second visit asks the bucket for nothing"
    assert sync(here, URL).files == 1
    sync(URL, there)
    decisions = open_reviews(open_run(there)).current()
    assert list(decisions["decision"]) == ["keep"] and decisions["sample"].item() in flagged
