"""The three walk-throughs of the README, step by step as a person would go, in a real Chromium."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from browser import (
    MARKS,
    address,
    caption,
    current,
    eventually,
    follow,
    idle,
    visit,
    watched,
)

from lossprint.audit.runs.open import open_run

pytestmark = MARKS


def test_an_engineer_finds_the_twenty_worst_labels_and_exports_them(page, base, runs):
    visit(page, f"{base}/?run=plain", "Overview")
    follow(page, "Wrong labels")
    page.locator(".tile").nth(19).wait_for()
    seen = page.locator(".tile").evaluate_all("all => all.map(one => Number(one.dataset.id))")[:20]
    page.get_by_role("button", name="Export").click()
    amount = page.get_by_role("spinbutton", name="How many, from the top")
    assert amount.input_value() == "20"
    with page.expect_download() as event:
        page.get_by_role("button", name="Download 20 rows").click()
    frame = pd.read_csv(io.BytesIO(Path(event.value.path()).read_bytes()))
    findings = open_run(runs / "plain").findings()
    worst = findings[findings["kind"] == "label_error"].nlargest(20, "severity")
    assert list(frame["sample"]) == seen == list(worst["sample"])
    assert list(frame["suggested_label"]) == list(worst["suggested_label"])


@pytest.mark.parametrize("count", [10, pytest.param(30, marks=pytest.mark.proof)])
def test_an_expert_works_through_findings_by_keyboard_only(page, base, runs, count):
    visit(page, f"{base}/?run=plain", "Overview")
    link = page.get_by_test_id("stSidebarNavLink").filter(has_text=re.compile(r"Review$"))
    for _ in range(40):  # Tab leads there
        page.keyboard.press("Tab")
        if link.evaluate("one => one === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Review", exact=True).wait_for()
    said = {"a": "accept", "k": "keep", "x": "exclude", "n": "unsure"}
    given = {}
    for at in range(count):
        sample = 10 + at  # most severe first
        caption(page, sample).wait_for()
        idle(page)
        key = "akxn"[at % 4]
        page.keyboard.press(key)
        given[sample] = said[key]
        caption(page, sample).wait_for(state="detached")
    eventually(lambda: {one: current(runs).get(one) for one in given} == given)
    page.get_by_text(re.compile(rf"^{count} of 33 answered")).wait_for()


def test_a_colleagues_link_opens_the_same_sample(page, chromium, base):
    visit(page, f"{base}/labels?run=hostile", "Wrong labels")
    page.get_by_role("combobox", name="Sort").click()
    page.get_by_role("option", name="Path").click()
    eventually(lambda: "sort=" in address(page))
    idle(page)
    page.locator(".tile[data-id='17']").click()
    caption(page.get_by_role("dialog"), 17).wait_for()
    eventually(lambda: "open=17" in address(page))
    sent = address(page)
    with watched(chromium, viewport={"width": 400, "height": 800}) as other:
        visit(other, sent, "Wrong labels")
        drawer = other.get_by_role("dialog")
        caption(drawer, 17).wait_for()
        drawer.get_by_text("While it learned").wait_for()
        drawer.locator(".print path.own").wait_for(state="attached")
        drawer.get_by_role("link", name="Open as a page").click()
        other.get_by_role("heading", name="Sample 17").wait_for()
