"""The review page in a real Chromium: two reviewers at once, blind mode, search, images that are there in time."""

import re

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

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

pytestmark = MARKS


def history(runs, name: str = "plain"):
    return open_reviews(open_run(runs / name)).history()


def called(page, name: str) -> None:
    """Type a name into the sidebar, and wait until the browser remembers it."""
    box = page.get_by_label("Reviewer", exact=True)
    box.fill(name)
    box.press("Enter")
    box.blur()
    eventually(lambda: any(one["value"] == name for one in page.context.cookies()), "the name was not remembered")
    idle(page)


def test_the_second_of_two_reviewers_on_one_question_is_told(page, chromium, base, runs):
    visit(page, f"{base}/review?run=plain&finding=label_error:30", "Review")
    called(page, "ann")
    with watched(chromium) as other:
        visit(other, f"{base}/review?run=plain&finding=label_error:30", "Review")
        called(other, "bob")
        caption(other, 30).wait_for()
        caption(page, 30).wait_for()
        page.keyboard.press("a")
        caption(page, 31).wait_for()
        other.keyboard.press("k")
        other.get_by_role("alert").filter(has_text="ann has answered this meanwhile").wait_for()
        assert history(runs)["reviewer"].tolist() == ["ann"]
        other.keyboard.press("k")  # now that he knows
        caption(other, 30).wait_for(state="detached")
        rows = history(runs)
        assert rows["reviewer"].tolist() == ["ann", "bob"] and rows["decision"].tolist() == ["accept", "keep"]
        assert (rows["seconds"] > 0).all() and rows["token"].notna().all()
        # ann has 31 on the screen: bob is handed another one
        eventually(lambda: "finding=label_error%3A31" not in address(other))
    page.reload()
    eventually(lambda: page.get_by_label("Reviewer", exact=True).input_value() == "ann")


def test_blind_mode_hides_the_label_and_stores_that_it_did(page, base, runs):
    visit(page, f"{base}/review?run=plain&finding=label_error:12&blind=Given+label+hidden", "Review")
    page.get_by_role("heading", name="What does this show?").wait_for()
    card = page.locator(".card")
    assert "given:" not in card.inner_text() and "suggested:" not in card.inner_text()
    assert not re.search("coat|shirt", card.locator("img").first.get_attribute("alt"))
    page.keyboard.press("1")
    eventually(lambda: 12 in current(runs))
    assert history(runs).iloc[-1]["blind"] == "given"


def test_the_next_image_is_there_before_it_is_asked_for(page, base):
    visit(page, f"{base}/review?run=plain&finding=label_error:34", "Review")
    caption(page, 34).wait_for()
    held = "card => [...card.lossprint.images.keys()].map(one => Number(one.split('/').pop()))"
    card = page.locator(".card")
    eventually(lambda: 35 in card.evaluate(held))
    page.keyboard.press("s")
    caption(page, 35).wait_for()
    assert card.locator("img").first.evaluate("one => one.complete && one.naturalWidth > 0")
    # Another page in between: the browser has lost its images, and asks for them again.
    follow(page, "Outliers")
    follow(page, "Review")
    caption(page, 35).wait_for()
    eventually(lambda: card.locator("img").first.evaluate("one => one.naturalWidth > 0"))


def test_keys_faster_than_the_images_store_nothing_and_that_is_said(page, base, runs):
    visit(page, f"{base}/review?run=plain&finding=label_error:22", "Review")
    caption(page, 22).wait_for()
    before = len(history(runs))
    page.evaluate(
        "() => { for (let n = 0; n < 10; n++) document.dispatchEvent(new KeyboardEvent('keydown', {key: 'k'})) }"
    )
    page.get_by_text("9 keys came before this question was on the screen, and stored nothing.").wait_for()
    assert len(history(runs)) == before + 1


def test_the_random_audit_asks_about_what_nothing_flagged(page, base, runs):
    visit(page, f"{base}/review?run=plain&queue=Random+audit", "Review")
    page.get_by_role("heading", name=re.compile("^Is this ")).wait_for()
    page.keyboard.press("k")
    page.get_by_text("Stored: Label kept").wait_for()
    row = history(runs).iloc[-1]
    assert row["finding"] == f"audit:{row['sample']}" and row["decision"] == "keep"
    flagged = set(open_run(runs / "plain").findings()["sample"])
    assert row["sample"] not in flagged
