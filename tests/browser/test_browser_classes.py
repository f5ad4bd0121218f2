"""Classes, Compare runs and Help in a real browser: real links, clicks and keys."""

import re

import pytest
from browser import (
    HOSTILE,
    MARKS,
    address,
    eventually,
    flag_many,
    idle,
    serving,
    visit,
)
from helpers import make_run

pytestmark = MARKS


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """`first` and `second`: two seeds of one dataset; `hostile`: labels that are markup."""
    place = tmp_path_factory.mktemp("classes")
    runs = place / "runs"
    runs.mkdir()
    labels = ("coat", "shirt")
    for name, seed, classes in (
        ("first", 0, labels),
        ("second", 1, labels),
        ("hostile", 0, (HOSTILE, "[a](javascript:alert(1)) $x$ *b*")),
    ):
        run = make_run(place / name, seed=seed, classes=classes, train=30, held_out=6)
        flag_many(run)
        run.path.rename(runs / name)
    with serving(runs) as url:
        yield url


def test_a_class_is_opened_by_row_and_by_url_and_its_samples_in_the_drawer(page, base):
    visit(page, f"{base}/classes?run=first", "Classes")
    assert page.get_by_label("All classes with").count()
    page.get_by_text("Labels probably wrong (estimate)").wait_for()
    worst = page.get_by_test_id("stMain").locator("h3").first.inner_text()
    other = {"coat": "shirt", "shirt": "coat"}[worst]
    canvas = page.locator(".st-key-classes-table canvas").first
    canvas.wait_for()
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 36 + 56 + 28)  # the box of the second row
    page.get_by_role("heading", name=other, exact=True).wait_for()
    eventually(lambda: f"class={other}" in address(page))
    idle(page)
    page.reload()
    page.get_by_role("heading", name=other, exact=True).wait_for()
    idle(page)
    link = page.get_by_role("link", name=re.compile("flagged sample"))
    assert f"given={other}" in link.get_attribute("href") and "run=first" in link.get_attribute("href")
    page.locator(".st-key-class-hard .tile").first.click()
    page.get_by_role("dialog").get_by_text(re.compile(r"^Sample \d+ ·")).wait_for()
    eventually(lambda: "open=" in address(page))


def test_two_runs_are_compared_and_what_either_flags_is_shown(page, base):
    visit(page, f"{base}/compare?run=first&other=second", "Compare runs")
    page.get_by_text("Rank correlation", exact=True).wait_for()
    page.locator(".st-key-compare-top .js-plotly-plot .main-svg").first.wait_for()
    eventually(lambda: page.locator(".st-key-compare-both .tile").count() == 2)
    page.get_by_role("radio", name=re.compile("^Only second")).click()
    eventually(lambda: "set=second" in address(page))
    page.get_by_text("None.", exact=True).wait_for()
    visit(page, f"{base}/compare?run=first&other=second&score=csl&set=first", "Compare runs")
    page.get_by_text("Flagged by CSL: the 5 %").wait_for()
    tile = page.locator(".st-key-compare-first .tile").first
    tile.click()
    page.get_by_role("dialog").get_by_text(re.compile(r"^Sample \d+ ·")).wait_for()


def test_a_score_is_explained_one_click_away_and_in_help(page, base):
    visit(page, f"{base}/compare?run=first&other=second&score=csl", "Compare runs")
    page.get_by_role("button", name="CSL").click()
    body = page.get_by_test_id("stPopoverBody")
    body.get_by_text("When not to trust it.").wait_for()
    body.locator(".katex").first.wait_for()
    body.get_by_role("link", name="More in Help").click()
    page.get_by_role("heading", name="Help", exact=True).wait_for()
    idle(page)
    assert "score=csl" in address(page) and "run=first" in address(page)
    assert page.get_by_test_id("stMain").locator("h3").first.inner_text() == "CSL"
    page.get_by_test_id("stMain").get_by_role("link", name="Outlier", exact=True).first.click()
    eventually(lambda: page.get_by_test_id("stMain").locator("h3").first.inner_text() == "Outlier")
