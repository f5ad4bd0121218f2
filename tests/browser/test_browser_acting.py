"""A selection's walk in a real browser: filter, tag, send to Review, answer, undo, redo; a view opened by another."""

import re

from browser import MARKS, address, check_access, eventually, idle, visit, watched

from lossprint.audit.findings.find import find_run
from lossprint.audit.review.marks import open_marks
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

pytestmark = MARKS


def test_a_selection_is_tagged_sent_to_review_answered_and_taken_back(page, chromium, base, runs):
    run = open_run(runs / "plain")
    find_run(run)
    visit(page, f"{base}/explore?run=plain&e_label=coat&e_split=validation", "Explore")
    wanted = run.samples().query("label == 'coat' and split == 'val'")["sample"].tolist()
    page.get_by_text(f"{len(wanted)} that match").wait_for()
    check_access(page, "Explore")
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_role("combobox", name="Tag").last.fill("blurry")
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Tag {len(wanted)}").click()
    eventually(lambda: {name: ids.tolist() for name, ids in open_marks(run).tags().items()} == {"blurry": wanted})
    idle(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Save what is shown as").fill("Coats to check")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save", exact=True).click()
    eventually(lambda: "view=" in address(page))
    sent = re.sub(r"&?e_\w+=[^&]*", "", address(page))
    page.keyboard.press("Escape")
    idle(page)
    page.get_by_role("button", name="Send to Review").click()
    page.get_by_role("button", name=f"Send {len(wanted)}").click()
    page.get_by_role("link", name=re.compile(r"^Review .*coat")).click()
    page.get_by_role("heading", name="Review", exact=True).wait_for()
    idle(page)
    page.keyboard.press("k")
    eventually(lambda: open_reviews(run).current()["sample"].tolist() == wanted[:1])
    idle(page)
    page.keyboard.press("u")
    eventually(lambda: open_reviews(run).current().empty)
    idle(page)
    page.keyboard.press("r")
    eventually(lambda: open_reviews(run).current()["sample"].tolist() == wanted[:1])
    with watched(chromium, viewport={"width": 400, "height": 800}, color_scheme="dark") as other:
        visit(other, sent, "Explore")
        other.get_by_text(f"{len(wanted)} that match").wait_for()
        other.get_by_role("button", name="View: Coats to check").wait_for()
        check_access(other, "Explore, narrow and dark")
        visit(other, f"{base}/map?run=plain&map_of=What+is+alike", "Triage map")
        other.get_by_text("Near means alike").wait_for()
        check_access(other, "map, narrow and dark")
    visit(page, f"{base}/history?run=plain", "History")
    page.get_by_text(re.compile(r"^\d steps, ")).wait_for()
    check_access(page, "History")
