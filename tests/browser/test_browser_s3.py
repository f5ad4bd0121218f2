"""A run and its images in a bucket, in a real Chromium: thumbnails are seen, a decision outlives the server."""

from browser import MARKS, eventually, idle, serving, visit, watched
from conftest import cut_demo
from helpers import free_port

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import open_run
from lossprint.audit.workflow.audit import audit

pytestmark = MARKS
URL = "s3://shown/runs/first"
TILES = ".st-key-gallery-label_error .tile"


def seen(page) -> int:
    """How many of the gallery's images the browser has drawn."""
    return page.locator(f"{TILES} img").evaluate_all("all => all.filter(one => one.naturalWidth > 0).length")


def test_a_run_in_a_bucket_is_shown_and_decided_on(s3, machine, chromium, tmp_path):
    cut_demo(tmp_path / "demo", 14, 4)
    s3.bucket("shown")
    s3.upload(tmp_path / "demo", "shown", "data/")
    machine("trainer")
    run = audit("s3://shown/data/labels.csv", URL, epochs=2, curvature_checkpoints=1, quiet=True)
    flagged = run.findings().query("kind == 'label_error'")["sample"].tolist()
    assert len(flagged) >= 3, "an untrained network doubts many labels"
    machine("viewer")  # has neither the run nor an image
    s3.asked.clear()
    with serving(URL, free_port()) as base, watched(chromium) as page:
        visit(page, f"{base}/labels?per=60", "Wrong labels")
        eventually(lambda: seen(page) == min(60, len(flagged)))
        first = s3.reads()
        assert len(first) == len(set(first)) >= min(60, len(flagged)), "each image is downloaded once"
        assert not [path for verb, path in s3.asked if verb == "GET" and "checkpoints" in path], "no weights"
        page.locator(TILES).first.focus()
        page.keyboard.press("k")
        page.locator(f"{TILES} .badge", has_text="kept").wait_for()
        idle(page)
    kept = open_reviews(open_run(URL)).current()
    assert list(kept["decision"]) == ["keep"] and kept["sample"].item() in flagged
    s3.asked.clear()
    with serving(URL, free_port()) as base, watched(chromium) as page:
        visit(page, f"{base}/labels?per=60", "Wrong labels")
        eventually(lambda: seen(page) == min(60, len(flagged)))
        page.locator(f"{TILES} .badge", has_text="kept").wait_for()
        assert not s3.reads(), "the second visit downloads no image"
        assert not s3.reads(".parquet"), "and none of the tables"
    assert not [key for key in s3.keys("shown") if "reviews" in key]
