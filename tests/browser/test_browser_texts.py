"""A dataset of texts in a real Chromium: cards instead of images, the whole text, a decision by keyboard, no markup."""

import json
import re

import pytest
import text_runs
from browser import MARKS, address, caption, check_access, download, eventually, idle, serving, visit, watched

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

pytestmark = MARKS
MARKUP = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
NARROW = {"viewport": {"width": 400, "height": 800}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the runs `topics` (labels; under cooking all texts are markup) and `chats` (no labels)."""
    folder = tmp_path_factory.mktemp("texts")
    path, _ = text_runs.labelled(folder)
    text_runs.put_before(path, MARKUP, "cooking/")
    text_runs.record_labelled(path, folder / "runs" / "topics")
    path, _ = text_runs.instructions(folder)
    text_runs.record_instructions(path, folder / "runs" / "chats")
    return folder / "runs"


@pytest.fixture(scope="module")
def base(runs):
    with serving(runs) as url:
        yield url


def unharmed(page) -> None:
    """Nothing that a text says was run, and none of it became an element."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0 and page.locator("[onerror]").count() == 0


def suspects(run) -> list[int]:
    found = run.findings()
    return found[found["kind"] == "label_error"].sort_values("rank")["sample"].tolist()


def test_mislabeled_shows_cards_and_a_click_opens_the_whole_text(page, base, runs):
    run = open_run(runs / "topics")
    hostile = suspects(run)[0]
    visit(page, f"{base}/labels?run=topics", "Wrong labels")
    cards = page.get_by_role("option")
    cards.first.wait_for()
    assert cards.count() == len(suspects(run)) == 8 and cards.locator("img").count() == 0
    card = page.locator(f"[data-id='{hostile}']")
    text = card.locator(".turn").inner_text()
    assert text.startswith(MARKUP) and len(text) > len(MARKUP) + 20
    assert "labeled finance, suggested cooking: <img src=x" in card.get_attribute("aria-label")
    check_access(page, "cards of texts")
    card.click()
    dialog = page.get_by_role("dialog")
    box = dialog.get_by_role("region", name=f"sample {hostile}, labeled finance")
    assert box.inner_text() == text
    caption(page, hostile).wait_for()
    dialog.get_by_text("Loss print", exact=True).wait_for()
    dialog.locator(".print path.own").wait_for(state="attached")
    idle(page)
    unharmed(page)
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


def test_by_keyboard_in_the_gallery(page, base, runs):
    first, second = suspects(open_run(runs / "topics"))[:2]
    visit(page, f"{base}/labels?run=topics", "Wrong labels")
    page.locator(f"[data-id='{first}']").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(
        "document.activeElement.shadowRoot?.activeElement?.dataset.id ?? document.activeElement.dataset.id"
    ) == str(second)
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("region", name=re.compile(f"^sample {second},")).wait_for()


def test_a_review_by_keyboard_and_what_is_exported(page, base, runs):
    run = open_run(runs / "topics")
    first = suspects(run)[0]
    visit(page, f"{base}/review?run=topics&finding=label_error:{first}", "Review")
    box = page.get_by_role("region", name=re.compile(f"^sample {first}, "))
    path = run.samples().set_index("sample").at[first, "path"]
    source = (runs.parent / "texts.jsonl").read_text().splitlines()
    text = next(row["text"] for row in map(json.loads, source) if row["id"] == path)
    assert box.inner_text().split() == text.split()
    assert page.get_by_role("button", name="Zoom").count() == 0
    page.keyboard.press("a")
    box.wait_for(state="detached")
    eventually(lambda: len(open_reviews(run).history()) == 1)
    row = open_reviews(run).history().iloc[0]
    assert (row["sample"], row["decision"], row["new_label"]) == (first, "accept", path.split("/")[0])
    visit(page, f"{base}/export?run=topics", "Export")
    assert page.get_by_text("folder of images").count() == 0
    assert download(page, "Changes only (CSV)")["path"].tolist() == [path]


def test_long_and_odd_texts_on_the_sample_page(page, base, runs):
    ids = open_run(runs / "topics").samples().set_index("path")["sample"]
    visit(page, f"{base}/sample?run=topics&sample={ids['odd/long']}", "Sample")
    box = page.get_by_role("region", name=re.compile("^sample"))
    assert len(box.inner_text()) == 200_000
    assert box.evaluate("box => box.scrollHeight > 2 * box.clientHeight && box.clientHeight < 600")
    box.focus()
    page.keyboard.press("End")
    eventually(lambda: box.evaluate("box => box.scrollTop") > 0, "it does not scroll by keyboard")
    page.get_by_text("further characters are not shown").wait_for()
    visit(page, f"{base}/sample?run=topics&sample={ids['odd/turned']}", "Sample")
    said = page.get_by_role("region", name=re.compile("^sample")).inner_text()
    assert "⟨U+202E⟩second" in said and "\u2407" in said and "\u202e" not in said


def test_texts_without_labels(page, base, runs):
    run = open_run(runs / "chats")
    first = suspects(run)[0]
    visit(page, f"{base}/labels?run=chats", "Wrong labels")
    card = page.locator(f"[data-id='{first}']")
    card.wait_for()
    assert [role.upper() for role in card.locator(".role").all_inner_texts()] == ["SYSTEM", "USER", "ASSISTANT"]
    assert page.get_by_label("Given label").count() == 0 and page.get_by_text("Relabel as").count() == 0
    card.focus()
    page.keyboard.press("x")
    eventually(lambda: card.locator(".badge").count() == 1)
    assert open_reviews(run).history()["decision"].tolist() == ["exclude"]
    second = suspects(run)[1]
    visit(page, f"{base}/review?run=chats&finding=label_error:{second}", "Review")
    page.get_by_role("heading", name="Is this right?").wait_for()
    page.keyboard.press("k")
    eventually(lambda: open_reviews(run).history()["decision"].tolist() == ["exclude", "keep"])
    visit(page, f"{base}/classes?run=chats", "Classes")
    page.get_by_text("have no labels").wait_for()


def test_a_narrow_dark_screen(chromium, base, runs):
    with watched(chromium, **NARROW, color_scheme="dark") as page:
        for run in ("topics", "chats"):
            visit(page, f"{base}/labels?run={run}", "Wrong labels")
            wide = page.get_by_role("option").first.bounding_box()
            assert wide["width"] > 240 and wide["x"] + wide["width"] <= 400
            check_access(page, f"cards of {run}, narrow and dark")
        page.get_by_role("option").first.click()
        box = page.get_by_role("dialog").get_by_role("region").first
        box.wait_for()
        check_access(page, "a whole text, narrow and dark")
        assert "open=" in address(page)
        visit(page, f"{base}/review?run=topics", "Review")
        page.get_by_role("region", name=re.compile("^sample")).wait_for()
        check_access(page, "a question, narrow and dark")
