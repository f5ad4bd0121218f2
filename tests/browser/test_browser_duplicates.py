"""The duplicates page in a real browser: order, threshold, keep-one policy, deciding on many groups, links."""

import re

import numpy as np
import pandas as pd
import pytest
from browser import (
    MARKS,
    address,
    current,
    eventually,
    idle,
    visit,
    watched,
)
from helpers import make_run

from lossprint.audit.findings import find
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

pytestmark = MARKS
CHAIN, CONFLICT, LEAK, PLAIN = "near_duplicate-10", "duplicate-0", "near_duplicate-20", "duplicate-30"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run with five groups; of the chain 10, 12, 14 the first has the lowest loss and the second is most central."""
    place = tmp_path_factory.mktemp("duplicates")
    run = make_run(place / "made", classes=("coat", "shirt"), kind="folder", train=30, held_out=6)
    scores = run.scores()
    scores["csl"] = np.where(scores["sample"] == 10, 0.01, 1.0 + scores["sample"] / 1000)
    run.write_scores(scores)
    pairs = [(0, 3, 1.0), (10, 12, 0.96), (12, 14, 0.99), (20, 60, 0.98), (30, 32, 1.0), (40, 42, 0.985)]
    frame = pd.DataFrame(pairs, columns=["sample", "partner", "similarity"])
    frame["kind"] = np.where(frame["similarity"] == 1, "exact", "near")
    run.write_duplicates(frame[["sample", "partner", "kind", "similarity"]])
    find.find_run(run)
    (place / "runs").mkdir()
    run.path.rename(place / "runs" / "plain")
    return place / "runs"


def order(page) -> list[str]:
    """The groups as they are drawn, by the keys of their strips."""
    names = page.locator("[class*='st-key-group-']").evaluate_all("all => all.map(one => one.className)")
    return [re.search(r"st-key-group-(\S+)", name)[1] for name in names]


def stays(page, group: str) -> list[str]:
    """The tiles of a group that are marked as the copy that stays."""
    marks = ".badge.good:text-is('stays')"
    tiles = page.locator(f".st-key-group-{group} .tile").filter(has=page.locator(marks))
    return tiles.evaluate_all("all => all.map(one => one.dataset.id)")


def test_conflicts_come_first_and_each_pair_has_its_similarity(page, base):
    visit(page, f"{base}/duplicates", "Duplicates")
    page.locator(f".st-key-group-{PLAIN} .tile").first.wait_for()
    eventually(lambda: len(order(page)) == 5)
    assert order(page)[:2] == [CONFLICT, LEAK] and set(order(page)) == {
        CONFLICT,
        LEAK,
        CHAIN,
        PLAIN,
        "near_duplicate-40",
    }
    page.get_by_text("near: 0.980 alike").wait_for()
    page.get_by_text("near: 0.960–0.990 alike").wait_for()
    eventually(lambda: stays(page, LEAK) == ["60"])  # the evaluation copy
    page.locator(f".st-key-group-{CHAIN} .tile[data-id='12'] .note", has_text="0.960 like #10").wait_for()
    page.locator(f".st-key-group-{CHAIN} .tile[data-id='14'] .note", has_text="no pair with #10").wait_for()
    page.get_by_text("Similarity of each pair").click()
    page.get_by_text("–: no pair by themselves").wait_for()
    page.get_by_role("radio", name="Across splits").click()
    eventually(lambda: order(page) == [LEAK])
    eventually(lambda: "groups=Across" in address(page))
    page.locator(f".st-key-group-{LEAK} .tile").first.click()
    drawer = page.get_by_role("dialog")
    drawer.get_by_text(re.compile(r"^Sample (20|60) ·")).wait_for()


def test_the_slider_regroups_by_keyboard(page, base, runs):
    visit(page, f"{base}/duplicates?kind=Near", "Duplicates")
    page.get_by_text("5 groups, 11 images").wait_for()
    page.get_by_role("slider").press("ArrowRight")
    page.get_by_text("5 groups, 10 images").wait_for()
    eventually(lambda: "alike=0.961" in address(page))
    page.get_by_text("part of a group: 2 of 3").wait_for()
    idle(page)
    eventually(lambda: any("2-of-3" in name for name in order(page)) and CHAIN not in order(page))
    page.get_by_role("slider").press("End")
    page.get_by_text("2 groups, 4 images").wait_for()
    page.get_by_text("No such group").wait_for()
    findings = open_run(runs / "plain").findings()
    assert "near_duplicate:10" in set(findings["group"])


def test_a_policy_moves_the_mark_and_many_groups_are_decided_and_taken_back(page, base, runs):
    visit(page, f"{base}/duplicates", "Duplicates")
    eventually(lambda: stays(page, CHAIN) == ["10"])
    page.get_by_role("radio", name="Most central").click()
    eventually(lambda: stays(page, CHAIN) == ["12"])
    eventually(lambda: "policy=Most" in address(page))
    page.get_by_role("radio", name="Largest image").click()
    page.locator(f".st-key-group-{CHAIN} .tile .note", has_text="12 × 12 px").first.wait_for()
    page.get_by_role("radio", name="Lowest loss").click()
    eventually(lambda: stays(page, CHAIN) == ["10"])
    idle(page)
    page.get_by_role("button", name="Apply to the 4 groups shown").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("4 images stay, 5 will be excluded").wait_for()
    dialog.get_by_text("1 group with conflicting labels").wait_for()
    assert current(runs) == {}
    dialog.get_by_role("button", name="Apply", exact=True).click()
    page.get_by_text("9 decisions stored").wait_for()
    decided = {10: "keep", 12: "exclude", 14: "exclude", 60: "keep", 20: "exclude"}
    assert decided.items() <= current(runs).items() and not {0, 3} & set(current(runs))
    assert set(open_reviews(open_run(runs / "plain")).current()["finding"]) == {
        "near_duplicate:10",
        "near_duplicate:20",
        "near_duplicate:40",
        "duplicate:30",
    }
    page.locator(f".st-key-group-{CHAIN} .badge", has_text="kept").wait_for()
    idle(page)
    assert page.get_by_role("button", name="Apply to").count() == 0
    page.keyboard.press("u")
    page.get_by_role("button", name="Take them back").click()
    page.get_by_text("Taken back: 9 decisions").wait_for()
    assert current(runs) == {}
    eventually(lambda: stays(page, CHAIN) == ["10"])


def test_a_link_shows_the_same_view_on_a_telephone(chromium, base):
    with watched(chromium, viewport={"width": 400, "height": 800}) as page:
        query = "alike=0.961&policy=Most+central&kind=Near&dstate=Open&groups=All&dclass=coat&dper=16"
        visit(page, f"{base}/duplicates?{query}", "Duplicates")
        page.get_by_text("part of a group: 2 of 3").wait_for()
        for name in ("Most central", "Near", "Open"):
            assert page.get_by_role("radio", name=name, exact=True).is_checked()
        assert "alike=0.961" in address(page) and "dclass=coat" in address(page)
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
        visit(page, f"{base}/duplicates", "Duplicates")
        strip = page.locator(f".st-key-group-{CHAIN} .grid")
        strip.locator(".tile").nth(2).wait_for()
        assert strip.evaluate("one => one.scrollWidth > one.clientWidth"), "the strip scrolls inside itself"
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
        visit(page, f"{base}/duplicates?alike=7&policy=x&kind=y&dclass=zebra&dpage=99&dper=1&open=999999", "Duplicates")
        page.locator(".tile").first.wait_for()
