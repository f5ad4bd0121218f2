"""Loss prints in a real Chromium: shapes and heat-map rows filter the gallery, and a link repeats the view."""

from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from browser import (
    MARKS,
    address,
    caption,
    eventually,
    idle,
    visit,
)
from helpers import make_run

pytestmark = MARKS

PLANTED = {  # from the first sample on, so many of each; the rest falls early
    "Rises again": (5, [1.9, 0.2, 0.2, 1.8, 0.2, 0.1]),
    "Never falls": (6, [2.0, 2.1, 2.2, 2.1, 2.0, 2.4]),
    "Falls late": (7, [2.0, 1.9, 1.8, 1.7, 0.3, 0.2]),
    "Falls early": (42, [0.3, 0.2, 0.1, 0.1, 0.05, 0.04]),
}


def members(shape: str) -> list[int]:
    first = 0
    for name, (number, _) in PLANTED.items():
        if name == shape:
            return list(range(first, first + number))
        first += number
    raise KeyError(shape)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run of 60 training samples of two classes, whose losses have planted shapes. CSL falls with the id."""
    place = tmp_path_factory.mktemp("prints")
    run = make_run(place / "plain", classes=("coat", "shirt"), kind="folder", train=30, held_out=6, checkpoints=6)
    losses = [curve for number, curve in PLANTED.values() for _ in range(number)]
    for at, checkpoint in enumerate(run.recorded("train")):
        part = run.part("train", checkpoint).to_pandas()
        part["loss"] = [curve[at] for curve in losses]
        run.write_part("train", checkpoint, part)
    scores = run.scores()
    scores["csl"] = [3 - sample / 100 for sample in scores["sample"]]
    run.write_scores(pd.DataFrame(scores))
    (place / "runs").mkdir()
    run.path.rename(place / "runs" / "plain")
    return place / "runs"


def shown(page) -> list[int]:
    return page.locator(".st-key-prints-gallery .tile").evaluate_all("all => all.map(one => Number(one.dataset.id))")


def asked(page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(address(page)).query)


def click_row(page, row: int, rows: int) -> None:
    """Click a row of the heat map, as the mouse does."""
    plot = page.locator("[class*=st-key-prints-heat] .nsewdrag").first
    page.locator("[class*=st-key-prints-heat] .hm image").first.wait_for(state="attached")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    x, y = box["x"] + box["width"] * 0.4, box["y"] + box["height"] * (row + 0.5) / rows
    page.mouse.move(x, y)
    page.locator("[class*=st-key-prints-heat] .hoverlayer .hovertext").wait_for()
    page.mouse.down()
    page.mouse.up()


def test_a_shape_shows_exactly_its_samples_and_is_in_the_url(page, base):
    visit(page, f"{base}/prints?run=plain", "Loss prints")
    for at, name in enumerate(("Falls early", "Falls late", "Never falls", "Rises again")):
        card = page.locator(f".st-key-shape-{at}")
        card.get_by_text(name, exact=True).wait_for()
        card.get_by_text(f"{len(members(name))} samples").wait_for()
    card = page.locator(".st-key-shape-3")
    card.get_by_role("button", name="Show “rises again”").click()
    eventually(lambda: shown(page) == members("Rises again"), "the gallery does not hold the shape")
    eventually(lambda: asked(page).get("shape") == ["Rises again"])
    idle(page)
    other = page.locator(".st-key-shape-2").get_by_role("button", name="Show “never falls”")
    other.focus()
    page.keyboard.press("Enter")
    eventually(lambda: shown(page) == members("Never falls"), "the keyboard chose no shape")
    eventually(lambda: asked(page).get("shape") == ["Never falls"])
    idle(page)
    page.locator(".st-key-shape-2").get_by_role("button", name="Show all shapes").click()
    eventually(lambda: "shape" not in asked(page))
    eventually(lambda: shown(page) == list(range(24)))


def test_a_row_of_the_heat_map_shows_its_samples_and_a_tile_opens_the_drawer(page, base):
    visit(page, f"{base}/prints?run=plain&shape=Falls+late", "Loss prints")
    late = members("Falls late")
    eventually(lambda: shown(page) == late)
    click_row(page, 2, len(late))
    eventually(lambda: shown(page) == [late[2]], "the click on the row did not filter")
    eventually(lambda: asked(page).get("rows") == ["3"])
    idle(page)
    click_row(page, 5, len(late))
    eventually(lambda: shown(page) == [late[5]])
    idle(page)
    click_row(page, 5, len(late))
    eventually(lambda: shown(page) == late, "a second click on the row does not show all again")
    eventually(lambda: "rows" not in asked(page))
    idle(page)
    page.get_by_role("textbox", name="Ranks").fill("2-4")
    page.keyboard.press("Enter")
    eventually(lambda: shown(page) == late[1:4])
    idle(page)
    page.locator(f".tile[data-id='{late[2]}']").click()
    caption(page.get_by_role("dialog"), late[2]).wait_for()
    page.get_by_role("dialog").get_by_text("2 of 3", exact=True).wait_for()
    eventually(lambda: asked(page).get("open") == [str(late[2])])


def test_a_link_repeats_the_view(page, base):
    query = "run=plain&shape=Never+falls&pclass=shirt&p_sort=Loss+at+the+last+checkpoint&rows=2-3&bands=coat"
    visit(page, f"{base}/prints?{query}", "Loss prints")
    shirts = [sample for sample in members("Never falls") if sample % 2]
    eventually(lambda: shown(page) == shirts[1:3], "the link does not repeat the view")
    page.get_by_text("ranks 2–3 of 3").wait_for()
    eventually(lambda: page.locator(".st-key-class-bands-0 .js-plotly-plot").count() == 1)
    assert page.locator(".st-key-class-bands-1").count() == 0
    assert asked(page) == parse_qs(query)
    visit(page, f"{base}/prints?run=plain&split=Validation&rows=x&shape=no&p_sort=aum&p_page=99", "Loss prints")
    eventually(lambda: len(shown(page)) == 12)
    page.get_by_text("names no ranks").wait_for()
