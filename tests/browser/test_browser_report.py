"""The report in a real Chromium, from the disk: it loads nothing, can be read by all, fits a telephone, and prints."""

import re

import pytest
from browser import (
    HOSTILE,
    MARKS,
    check_access,
    flag_many,
    watched,
)
from helpers import make_run

from lossprint.audit.report.write import write_report
from lossprint.audit.review.reviews import open_reviews

pytestmark = MARKS
LONG = "a-very-long-name-without-any-place-to-break-it-" * 2


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report of a run with hostile and endless names, decisions of two reviewers and random checks."""
    folder = tmp_path_factory.mktemp("report")
    run = make_run(folder, classes=(HOSTILE, LONG, "plain"), train=60)
    flag_many(run)
    rows = [(f"label_error:{one}", one, "exclude" if one < 25 else "keep", "Ann") for one in range(10, 34)]
    rows += [(f"label_error:{one}", one, "exclude" if one < 20 else "keep", LONG) for one in range(10, 22)]
    rows += [(f"audit:{one}", one, "keep", HOSTILE) for one in range(40, 180)]
    names = ("finding", "sample", "decision", "reviewer")
    open_reviews(run).add_all([dict(zip(names, row)) for row in rows])
    return write_report(run, folder / "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_reads_well_and_loads_nothing(chromium, written, scheme):
    with watched(chromium, color_scheme=scheme) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(written.as_uri())
        page.get_by_role("heading", name="In short").wait_for()
        assert all(one == written.as_uri() or one.startswith("data:image/") for one in asked), asked
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 24, 31)"
        assert dark == (scheme == "dark")
        check_access(page, f"report, {scheme}")
        page.get_by_role("link", name="Errors found, and errors left").click()
        page.get_by_role("img", name=re.compile("^Yield curve: 13 errors found in 24")).wait_for()
        page.set_viewport_size({"width": 400, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        check_access(page, f"report at 400 pixels, {scheme}")


def test_it_prints_light_and_nothing_is_cut(chromium, written):
    with watched(chromium, color_scheme="dark", viewport={"width": 688, "height": 990}) as page:  # as wide as A4's text
        page.goto(written.as_uri())
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 39, 51)"
        assert page.evaluate("document.documentElement.scrollWidth") <= 688
        parts = "[...document.querySelectorAll('table, figure, svg')]"
        cut = f"{parts}.filter(one => one.getBoundingClientRect().right > 689).map(one => one.outerHTML.slice(0, 200))"
        assert page.evaluate(cut) == []
        printed = page.pdf(prefer_css_page_size=True)
        pages = len(re.findall(rb"/Type\s*/Page\b", printed))
        assert printed.startswith(b"%PDF") and 4 < pages < 40
