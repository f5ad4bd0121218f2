"""The real app in a headless Chromium: every page, real clicks, keys, links, downloads; no console error, no traceback.

Chromium is LOSSPRINT_CHROMIUM, else the system's, else Playwright's own. Without any the tests fail; they are skipped
only where LOSSPRINT_NO_BROWSER=1 says so.
"""

import re

import pytest
from browser import (
    HOSTILE,
    MARKS,
    PAGES,
    address,
    caption,
    check_access,
    come_into_view,
    current,
    download,
    eventually,
    follow,
    free_port,
    idle,
    serving,
    visit,
    watched,
)

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

pytestmark = MARKS
# ---------------------------------------------------------------------------------------------- pages


@pytest.mark.proof  # on a telephone below, and each page by itself in tests/app
def test_every_page_opens_from_the_navigation(page, base):
    visit(page, f"{base}/?run=plain", "Overview")
    page.get_by_text("Look here first").wait_for()
    come_into_view(page)
    page.locator(".js-plotly-plot .main-svg").nth(5).wait_for()
    for title in PAGES:
        follow(page, title)
        assert page.get_by_test_id("stException").count() == 0
        assert page.get_by_test_id("stAlertContentError").count() == 0


@pytest.mark.parametrize(
    ("scheme", "run"), [("light", "hostile"), pytest.param("dark", "plain", marks=pytest.mark.proof)]
)
def test_pages_fit_a_telephone_and_hinder_nobody_whatever_the_labels(chromium, base, scheme, run):
    """No page is wider than the screen, labels that are markup are text, and axe-core finds no serious hindrance."""
    with watched(chromium, viewport={"width": 400, "height": 800}, color_scheme=scheme) as page:
        visit(page, f"{base}/?run={run}", "Overview")
        for title, name in [("Overview", ""), *PAGES.items()]:
            if name:
                follow(page, title)
            assert f"run={run}" in address(page), title
            assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400, title
            assert page.get_by_test_id("stException").count() == 0, title
            assert page.get_by_test_id("stAlertContentError").count() == 0, title
            assert page.evaluate("window.hacked") is None, title
            assert page.locator("a[href^=javascript]").count() == 0, title
            check_access(page, f"{title}, {scheme}")
            if name == "labels" and run == "hostile":
                assert HOSTILE in page.locator(".tile .labels").first.text_content()


def test_half_written_runs_are_named_with_the_reason(page, base):
    visit(page, base, "Overview")
    page.get_by_text("1 run cannot be opened").click()
    page.get_by_text("checkpoints recorded").wait_for()


def run_box(page):
    return page.get_by_test_id("stSidebar").get_by_role("combobox", name="Run")


def test_the_run_is_always_in_the_url_and_the_box_changes_it(page, base):
    visit(page, base, "Overview")
    eventually(lambda: "run=" in address(page))
    for name in ("plain", "hostile", "plain"):
        run_box(page).scroll_into_view_if_needed()  # a list that is open closes when the sidebar is scrolled
        idle(page)
        page.wait_for_function("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        run_box(page).click()
        page.get_by_role("option", name=name, exact=True).click()
        eventually(lambda name=name: address(page).endswith(f"run={name}"))
        idle(page)
    follow(page, "Wrong labels")
    eventually(lambda: "run=plain" in address(page))
    assert page.get_by_text("There is no run").count() == 0


def test_a_run_that_is_not_there_is_said(page, base):
    visit(page, f"{base}/labels?run=gone", "Wrong labels")
    page.get_by_text("There is no run gone here").wait_for()
    eventually(lambda: "run=gone" not in address(page))


@pytest.mark.parametrize("run", ["plain", "hostile"])
def test_a_thumbnail_of_the_overview_opens_its_story_and_the_page_of_it_in_the_same_run(page, base, run):
    visit(page, f"{base}/?run={run}", "Overview")
    page.locator(".tile").first.click()
    drawer = page.get_by_role("dialog")
    caption(drawer, 10).wait_for()
    eventually(lambda: "open=10" in address(page))
    drawer.get_by_role("link", name="Open as a page").click()
    page.get_by_role("heading", name="Sample 10").wait_for()
    eventually(lambda: re.search(r"/sample\?.*sample=10", address(page)))
    assert re.findall(r"run=(\w+)", address(page)) == [run]
    assert page.get_by_role("dialog").count() == 0


# ---------------------------------------------------------------------------------------------- evidence


def test_one_samples_whole_story_has_its_own_url(page, base):
    visit(page, f"{base}/sample?run=plain&sample=12", "Sample")
    page.get_by_role("heading", name="Sample 12").wait_for()
    page.get_by_text("over the given label").first.wait_for()
    assert page.locator(".side .heading").all_inner_texts() == ["Typical coat", "Typical shirt"]
    page.locator(".print .band.suggested").wait_for(state="attached")
    page.locator(".st-key-story-partners img").nth(2).wait_for()
    page.get_by_text("Details: all scores").click()
    page.locator(".st-key-story-details .js-plotly-plot").first.wait_for()
    stage = page.locator(".stage")
    stage.focus()
    page.keyboard.press("+")
    eventually(lambda: "scale(1.5)" in stage.locator("img").get_attribute("style"))
    page.get_by_role("button", name="Fit").click()
    eventually(lambda: "scale(1)" in stage.locator("img").get_attribute("style"))
    assert stage.locator("img").evaluate("one => getComputedStyle(one).imageRendering") == "pixelated"


def test_partners_are_shown_with_their_curves(page, base):
    visit(page, f"{base}/pairs?run=plain&sample=11", "Aligned & conflicting")
    for side in ("aligned", "conflicting"):
        page.locator(f".st-key-partners-{side} img").nth(2).wait_for()
        page.locator(f".st-key-curves-{side} .scatterlayer .trace").nth(3).wait_for(state="attached")
    page.get_by_role("radio", name="All classes").click()
    eventually(lambda: "scope=All" in address(page))


# ---------------------------------------------------------------------------------------------- decisions


def shown(page) -> list[str]:
    return page.locator(".st-key-gallery-label_error .tile").evaluate_all("all => all.map(one => one.dataset.id)")


def test_a_decision_on_a_flagged_image_survives_a_restart(chromium, runs):
    port = free_port()
    with serving(runs, port) as base, watched(chromium) as page:
        visit(page, f"{base}/labels?run=plain", "Wrong labels")
        eventually(lambda: shown(page) == [str(sample) for sample in range(10, 34)], "not by severity")
        page.get_by_role("button", name="Next page").click()
        eventually(lambda: shown(page) == [str(sample) for sample in range(34, 40)], "the second page did not come")
        eventually(lambda: "page=2" in address(page))
        page.locator(".tile[data-id='36']").click()
        drawer = page.get_by_role("dialog")
        caption(drawer, 36).wait_for()
        drawer.locator(".print path.own").first.wait_for(state="attached")
        eventually(lambda: "open=36" in address(page))
        drawer.get_by_role("button", name="It is ").click()
        caption(drawer, 37).wait_for()  # stored, and on to the next
        assert current(runs) == {36: "accept"}
        idle(page)  # a key pressed while the drawer is drawn anew is lost on a busy machine
        page.keyboard.press("Escape")
        page.locator(".tile[data-id='36'] .badge", has_text="relabeled").wait_for()
        idle(page)
    with serving(runs, port) as base, watched(chromium) as page:
        visit(page, f"{base}/labels?run=plain&page=2", "Wrong labels")
        page.locator(".tile[data-id='36'] .badge", has_text="relabeled").wait_for()
        visit(page, f"{base}/labels?run=plain&state=Decided", "Wrong labels")
        eventually(lambda: shown(page) == ["36"])
        visit(page, f"{base}/export?run=plain", "Export")
        page.get_by_text("What changes, and who decided it").wait_for()
        cleaned = download(page, "Cleaned labels (CSV)")
        changed = cleaned[cleaned["change"].notna()]
        assert len(changed) == 1 and changed["label"].item() != changed["given_label"].item()


def focused(page) -> str | None:
    """The id of the tile that has the focus."""
    return page.evaluate(
        "() => { let at = document.activeElement;"
        " while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement; return at?.dataset?.id ?? null }"
    )


def test_the_gallery_and_its_drawer_work_by_keyboard(page, base, runs):
    visit(page, f"{base}/labels?run=plain", "Wrong labels")
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog")
    caption(drawer, 11).wait_for()
    drawer.get_by_role("button", name="Next").wait_for()
    idle(page)
    page.keyboard.press("ArrowRight")
    caption(drawer, 12).wait_for()
    idle(page)
    page.keyboard.press("x")
    caption(drawer, 13).wait_for()
    assert current(runs)[12] == "exclude"
    idle(page)
    page.keyboard.press("u")
    caption(drawer, 12).wait_for()
    assert 12 not in current(runs)
    idle(page)
    page.keyboard.press("Escape")
    drawer.wait_for(state="detached")
    eventually(lambda: "open=" not in address(page))
    eventually(lambda: focused(page) == "11", "the focus did not return to the tile that opened it")


def test_a_link_opens_the_drawer(page, base):
    visit(page, f"{base}/labels?run=plain&open=15", "Wrong labels")
    caption(page.get_by_role("dialog"), 15).wait_for()
    come_into_view(page.get_by_role("dialog"))
    page.get_by_role("dialog").get_by_text("Details: all scores").click()
    page.get_by_role("dialog").locator(".js-plotly-plot").first.wait_for()
    idle(page)
    check_access(page, "drawer")
    visit(page, f"{base}/classes?run=plain&open=16", "Classes")
    caption(page.get_by_role("dialog"), 16).wait_for()


def test_review_by_keyboard_alone(page, base, runs):
    visit(page, f"{base}/review?run=plain&finding=label_error:20", "Review")
    caption(page, 20).wait_for()
    before = len(current(runs))
    for sample, key, decision in ((20, "a", "accept"), (21, "k", "keep")):
        caption(page, sample).wait_for()
        idle(page)
        page.keyboard.press(key)
        caption(page, sample + 1).wait_for()
        assert current(runs)[sample] == decision
    idle(page)
    page.keyboard.press("s")
    caption(page, 23).wait_for()
    for sample in (21, 20):
        idle(page)
        page.keyboard.press("u")
        caption(page, sample).wait_for()
    assert len(current(runs)) == before


def test_a_reload_keeps_the_question(page, base):
    visit(page, f"{base}/review?run=plain&finding=label_error:28", "Review")
    caption(page, 28).wait_for()
    page.keyboard.press("s")
    caption(page, 29).wait_for()
    eventually(lambda: "label_error%3A29" in address(page) or "label_error:29" in address(page))
    page.reload()
    caption(page, 29).wait_for()


WATCH_KEYS = """(card) => { window.pressed = []; document.addEventListener("keydown", (event) => {
    const line = card.querySelector(".about").textContent;
    window.pressed.push([event.key, Number(line.match(/\\d+/)[0])]) }, true) }"""


@pytest.mark.parametrize(
    "pauses",
    [(0, 40, 100, 200), pytest.param((0, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400), marks=pytest.mark.proof)],
    ids=["some", "many"],
)
def test_quick_double_keys_never_decide_on_an_image_that_was_not_shown(page, base, runs, pauses):
    visit(page, f"{base}/review?run=hostile&queue=Wrong+labels", "Review")
    caption(page, 10).wait_for()
    page.locator(".card").evaluate(WATCH_KEYS)
    for pause in pauses:
        page.keyboard.press("k")
        page.wait_for_timeout(pause)
        page.keyboard.press("x")
        idle(page)
        page.wait_for_timeout(300)
    for _ in range(6):
        page.keyboard.press("k")
    idle(page)
    page.wait_for_timeout(300)
    words = {"k": "keep", "x": "exclude"}
    pressed = {(sample, words[key]) for key, sample in page.evaluate("window.pressed")}
    rows = open_reviews(open_run(runs / "hostile")).history()
    stored = list(zip(rows["sample"], rows["decision"]))
    assert len(stored) >= len(pauses) and set(stored) <= pressed
    assert len(stored) == len(set(stored)), "the same answer was stored twice"


def test_keys_typed_into_a_comment_decide_nothing(page, base, runs):
    visit(page, f"{base}/review?run=plain&finding=label_error:26", "Review")
    before = current(runs)
    box = page.get_by_label("Comment")
    caption(page, 26).wait_for()
    page.keyboard.press("c")
    box.press_sequentially("ax sleeve unknown")
    box.press("Enter")
    idle(page)
    assert current(runs) == before
    page.keyboard.press("k")
    caption(page, 27).wait_for()
    table = open_reviews(open_run(runs / "plain")).current()
    assert table.loc[table["sample"] == 26, "comment"].item() == "ax sleeve unknown"


def test_a_duplicate_group_is_decided(page, base, runs):
    visit(page, f"{base}/duplicates?run=plain", "Duplicates")
    group = page.get_by_test_id("stVerticalBlock").filter(has_text="The same image is in the dataset twice").last
    group.locator(".tile").first.wait_for()
    page.locator("[class*='st-key-duplicate-0-one-0'] button").click()
    eventually(lambda: sorted(current(runs).get(sample, "") for sample in (0, 3)) == ["exclude", "keep"])


# ---------------------------------------------------------------------------------------------- files


def test_a_coreset_is_downloaded(page, base, runs):
    visit(page, f"{base}/coreset?run=plain&keep=50&method=Random", "Coreset")
    frame = download(page, "Download CSV")
    samples = open_run(runs / "plain").samples().set_index("sample")
    train = samples[samples["split"] == "train"]
    assert list(frame.columns) == ["sample", "path", "label", "score", "rank"]
    assert len(frame) == len(train) // 2 and frame["sample"].is_unique
    assert set(frame["sample"]) <= set(train.index)
    assert list(frame["path"]) == list(train.loc[frame["sample"], "path"])


def test_findings_and_a_cleaned_folder_are_written(page, base, runs):
    visit(page, f"{base}/export?run=plain", "Export")
    frame = download(page, "Findings (CSV)")
    assert (frame["kind"] == "label_error").sum() == 30
    page.get_by_text("Write it as a folder of images").click()
    # By key: the opening expander still moves the button, and a mouse click can miss it on a busy machine.
    page.get_by_role("button", name="Write the folder").press("Enter")
    page.get_by_text("samples written to").wait_for()
    assert (runs / "plain" / "exports" / "cleaned" / "labels.csv").is_file()
