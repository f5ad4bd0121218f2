"""The mislabeled gallery in a real Chromium: selecting many, deciding by key and by button, undo, filters as a link."""

from browser import (
    MARKS,
    address,
    current,
    eventually,
    idle,
    visit,
    watched,
)

pytestmark = MARKS


def tiles(page) -> list[int]:
    return page.locator(".st-key-gallery-label_error .tile").evaluate_all(
        "all => all.map(one => Number(one.dataset.id))"
    )


def tile(page, sample: int):
    return page.locator(f".st-key-gallery-label_error .tile[data-id='{sample}']")


def test_a_range_is_selected_decided_on_in_one_go_and_taken_back(page, base, runs):
    visit(page, f"{base}/labels?run=plain&per=60", "Wrong labels")
    eventually(lambda: tiles(page) == list(range(10, 40)))
    top = tile(page, 10).bounding_box()["y"]
    tile(page, 12).hover()
    tile(page, 12).locator(".pick").click()
    page.get_by_text("1 selected").wait_for()
    assert tile(page, 10).bounding_box()["y"] == top, "the first tick moved the gallery"
    tile(page, 16).click(modifiers=["Shift"])
    page.get_by_text("5 selected").wait_for()
    assert page.get_by_role("dialog").count() == 0
    tile(page, 14).click(modifiers=["Control"])
    page.get_by_text("4 selected").wait_for()
    page.get_by_role("button", name="As suggested").click()
    tile(page, 16).locator(".badge", has_text="relabeled").wait_for()
    assert current(runs) == dict.fromkeys((12, 13, 15, 16), "accept")
    page.get_by_text("4 decisions stored").wait_for()
    idle(page)
    tile(page, 20).focus()
    page.keyboard.press("u")
    page.get_by_text("Take back 4 decisions?").wait_for()  # a batch is asked about first
    assert len(current(runs)) == 4
    page.get_by_role("button", name="Take them back").click()
    eventually(lambda: current(runs) == {})
    idle(page)
    tile(page, 20).focus()
    page.keyboard.press("r")
    tile(page, 16).locator(".badge", has_text="relabeled").wait_for()
    assert current(runs) == dict.fromkeys((12, 13, 15, 16), "accept")
    idle(page)
    tile(page, 20).focus()
    page.keyboard.press("u")
    page.get_by_role("button", name="Take them back").click()
    eventually(lambda: current(runs) == {})
    idle(page)
    assert tile(page, 16).locator(".badge").count() == 0


def test_keys_decide_on_the_focused_image_and_go_on(page, base, runs):
    visit(page, f"{base}/labels?run=plain", "Wrong labels")
    eventually(lambda: tiles(page)[:1] == [10])
    tile(page, 10).focus()
    page.keyboard.press("ArrowRight")
    for sample, key, decision in ((11, "a", "accept"), (12, "k", "keep"), (13, "x", "exclude"), (14, "n", "unsure")):
        eventually(lambda sample=sample: focused(page) == sample)
        page.keyboard.press(key)
        tile(page, sample).locator(".badge").wait_for()
        idle(page)
        assert current(runs)[sample] == decision
    # 15 is labeled shirt: 1 is coat, the other class; 2 is its own label, which keeps it.
    page.keyboard.press("1")
    tile(page, 15).locator(".badge", has_text="relabeled").wait_for()
    idle(page)
    page.keyboard.press("1")
    tile(page, 16).locator(".badge", has_text="kept").wait_for()
    assert (current(runs)[15], current(runs)[16]) == ("relabel", "keep")
    idle(page)
    for _ in range(6):
        before = len(current(runs))
        page.keyboard.press("u")
        eventually(lambda before=before: len(current(runs)) == before - 1)
        idle(page)
    page.keyboard.press("Shift+ArrowRight")
    page.get_by_text("2 selected").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Select with the box or Space").wait_for()


def focused(page) -> int | None:
    return page.evaluate(
        "() => { const host = document.activeElement; const one = host?.shadowRoot?.activeElement ?? host;"
        " return one?.dataset.id ? Number(one.dataset.id) : null }"
    )


def test_a_cell_of_the_confusion_matrix_filters_and_the_view_can_be_sent(page, chromium, base):
    visit(page, f"{base}/labels?run=plain&per=60", "Wrong labels")
    page.get_by_text("Confusion matrix").click()
    point = page.locator(".st-key-confusion .scatterlayer .point").first
    point.wait_for(state="attached")
    idle(page)
    box = point.bounding_box()
    page.mouse.click(box["x"] + 4, box["y"] + 4)
    eventually(lambda: "given=coat" in address(page) and "suggested=shirt" in address(page))
    eventually(lambda: tiles(page) == list(range(10, 40, 2)))
    page.get_by_role("combobox", name="Sort").click()
    page.get_by_role("option", name="Sample id").click()
    eventually(lambda: "sort=" in address(page))
    idle(page)
    with watched(chromium) as other:
        visit(other, address(page), "Wrong labels")
        eventually(lambda: tiles(other) == tiles(page))
        other.locator(".st-key-confusion .scatterlayer .point").first.wait_for(state="attached")
        other.get_by_role("button", name="All pairs").click()
        eventually(lambda: tiles(other) == list(range(10, 40)))


def test_decided_ones_leave_the_open_ones_and_the_focus_stays(page, base, runs):
    visit(page, f"{base}/labels?run=hostile&state=Open", "Wrong labels")
    eventually(lambda: tiles(page)[:2] == [10, 11])
    tile(page, 11).focus()
    page.keyboard.press("k")
    eventually(lambda: tiles(page)[:2] == [10, 12])
    eventually(lambda: focused(page) == 12)
    assert current(runs, "hostile") == {11: "keep"}
