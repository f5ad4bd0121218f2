"""Aligned and conflicting in a real browser: a query by path, by click and by link, its partners and their curves."""

import re

from browser import (
    MARKS,
    address,
    caption,
    eventually,
    idle,
    visit,
)

from lossprint.audit.runs.open import open_run

pytestmark = MARKS
TITLE = "Aligned & conflicting"


def shown(page, key: str) -> list[str]:
    page.locator(f".st-key-{key} .tile").first.wait_for()  # components come after the script has run
    return page.locator(f".st-key-{key} .tile").evaluate_all("all => all.map(one => one.dataset.id)")


def asked(page, sample) -> None:
    """Wait until `sample` is the query, on the page and in the URL."""
    page.get_by_role("heading", name=f"Sample {sample}", exact=True).wait_for()
    eventually(lambda: re.search(rf"sample={sample}(&|$)", address(page)), "the URL does not name the query")
    idle(page)


def open_conflict(page, base) -> None:
    """The drawer of the first conflicting partner of sample 11."""
    visit(page, f"{base}/pairs?run=plain&sample=11", TITLE)
    first = shown(page, "partners-conflicting")[0]
    page.locator(f".st-key-partners-conflicting .tile[data-id='{first}']").click()
    caption(page.get_by_role("dialog"), first).wait_for()
    eventually(lambda: f"open={first}" in address(page))
    idle(page)


def test_a_validation_sample_is_found_by_path_and_a_conflict_becomes_the_query(chromium, page, base, runs):
    samples = open_run(runs / "plain").samples().set_index("sample")
    query = samples.index[samples["split"] == "val"][1]
    visit(page, f"{base}/pairs?run=plain", TITLE)
    box = page.get_by_placeholder("id or part of a path")
    box.fill(samples.at[query, "path"])
    box.press("Enter")
    page.get_by_role("heading", name=f"Sample {query}", exact=True).wait_for()
    page.get_by_role("radio", name="All classes").click()
    page.get_by_text("most aligned training samples").wait_for()
    idle(page)
    page.locator(".st-key-curves-aligned .scatterlayer .trace").nth(5).wait_for(state="attached")
    aligned = shown(page, "partners-aligned")
    assert len(aligned) == 5 and all(samples.at[int(one), "split"] == "train" for one in aligned)

    page.get_by_role("radio", name="Standardised").click()
    page.locator(".st-key-curves-aligned").get_by_text("loss, standardised").wait_for()
    page.get_by_role("radio", name="Makes it the query").click()
    eventually(lambda: "click=Makes" in address(page))
    idle(page)
    partner = aligned[0]
    page.locator(f".st-key-partners-aligned .tile[data-id='{partner}']").click()
    asked(page, partner)
    conflict = shown(page, "partners-conflicting")[0]
    assert samples.at[int(conflict), "split"] == "val"
    page.locator(f".st-key-partners-conflicting .tile[data-id='{conflict}']").press("Enter")
    asked(page, conflict)

    link, mine = address(page), shown(page, "partners-aligned")
    other = chromium.new_context().new_page()  # a colleague's browser
    visit(other, link, TITLE)
    other.get_by_role("heading", name=f"Sample {conflict}", exact=True).wait_for()
    eventually(lambda: shown(other, "partners-aligned") == mine)
    for chosen in ("All classes", "Standardised", "Makes it the query"):
        assert other.get_by_role("radio", name=chosen).is_checked(), chosen
    other.context.close()


def test_partners_open_and_queries_are_picked_from_strips(page, base):
    open_conflict(page, base)
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("dialog").wait_for(state="detached")
    eventually(lambda: "open=" not in address(page))
    idle(page)
    page.get_by_role("radio", name="Validation", exact=True).click()
    page.locator(".st-key-pick-strip .tile .note", has_text="#").first.wait_for()
    idle(page)
    picked = shown(page, "pick-strip")[0]
    page.locator(f".st-key-pick-strip .tile[data-id='{picked}']").click()
    asked(page, picked)


def test_the_strongest_conflicts_are_shown_by_both_labels(page, base):
    visit(page, f"{base}/pairs?run=plain&scope=All+classes", TITLE)
    page.locator(".st-key-conflict-map .heatmaplayer").wait_for(state="attached")
    box = page.locator(".st-key-between").get_by_role("combobox")
    option = page.get_by_role("option", name="shirt ✕ coat", exact=True)

    def unfolded() -> bool:  # the list folds up again when a chart that is still being drawn moves it
        if not option.is_visible():
            box.press("ArrowDown")
            page.wait_for_timeout(300)
        return option.is_visible()

    eventually(unfolded)
    option.click()
    eventually(lambda: "between=shirt" in address(page))
    idle(page)
    given = page.locator(".st-key-strongest .tile .given")
    eventually(lambda: set(given.all_text_contents()) == {"shirt"})
    page.locator(".st-key-strongest .tile").first.click()
    page.get_by_role("dialog").wait_for()


def test_a_click_right_after_closing_a_drawer_does_not_open_it_again(page, base):
    """The browser sends the URL with every click, and learns a moment later that `open` is gone from it."""
    open_conflict(page, base)
    close = page.get_by_role("dialog").get_by_role("button", name="Close").element_handle()
    other = page.get_by_role("radio", name="Validation", exact=True, include_hidden=True).element_handle()
    page.evaluate(
        """async ([close, other]) => {
        close.click()
        await new Promise(done => setTimeout(done, 20))
        other.click()
    }""",
        [close, other],
    )
    page.locator(".st-key-pick-strip .tile .note", has_text="#").first.wait_for()
    idle(page)
    eventually(lambda: not page.get_by_role("dialog").count(), "the drawer came back")
    eventually(lambda: "open=" not in address(page), "the URL still opens the drawer")
