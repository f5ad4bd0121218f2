"""The triage map in a real Chromium: drag a box, draw a lasso, choose by keys, zones, links."""

import re

import numpy as np
from browser import (
    MARKS,
    address,
    eventually,
    idle,
    visit,
    watched,
)

from lossprint.app.views.map import zones
from lossprint.audit.runs.open import open_run

pytestmark = MARKS
TITLE = "Triage map"


def shown(page) -> list[int]:
    return page.locator(".st-key-map-gallery .tile").evaluate_all("all => all.map(one => Number(one.dataset.id))")


def expected(runs, inside) -> list[int]:
    """The first page of the samples for which `inside(csl, curvature)`, percentiles, is true."""
    scores = open_run(runs / "plain").scores()
    chosen = inside(*(zones.axis(scores, name).at for name in ("csl", "curvature")))
    order = zones.order(scores)
    return scores["sample"].to_numpy()[order[chosen[order]]][:24].tolist()


def place(page, x: float, y: float) -> tuple[float, float]:
    """Where on the screen a place of the map is."""
    return tuple(
        page.evaluate(
            """([x, y]) => {
              const plot = document.querySelector('.st-key-map .js-plotly-plot'), at = plot.getBoundingClientRect();
              const {xaxis, yaxis} = plot._fullLayout;
              return [at.x + xaxis._offset + xaxis.l2p(x), at.y + yaxis._offset + yaxis.l2p(y)];
            }""",
            [x, y],
        )
    )


def drag(page, places: list[tuple[float, float]]) -> None:
    page.locator(".st-key-map .scatterlayer .point").first.wait_for(state="attached")
    spots = [place(page, *at) for at in places]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=6)
    page.mouse.up()


def test_a_box_drawn_with_the_mouse_fills_the_gallery_and_its_link_repeats_it(chromium, page, base, runs):
    visit(page, f"{base}/map?run=plain&x=CSL&y=Curvature", TITLE)
    eventually(lambda: len(shown(page)) == 24)  # without a choice: all
    drag(page, [(40, 40), (101, 101)])
    wanted = expected(runs, lambda x, y: (x >= 40) & (y >= 40))
    assert 3 < len(wanted) < 24  # no score lies within a pixel of 40
    eventually(lambda: shown(page) == wanted, "the box did not select its samples")
    page.get_by_role("heading", name=f"{len(wanted)} of 60 training samples in the box").wait_for()
    page.locator(".st-key-map-classes .js-plotly-plot").wait_for()
    eventually(lambda: "area=" in address(page))
    idle(page)
    with watched(chromium) as other:
        visit(other, address(page), TITLE)
        eventually(lambda: shown(other) == wanted, "the link showed something else")
        other.locator(".st-key-map .shapelayer path").last.wait_for(state="attached")
    page.locator(".st-key-map-gallery .tile").nth(1).click()
    page.get_by_role("dialog").get_by_text(re.compile(rf"^Sample {wanted[1]} ·")).wait_for()
    page.get_by_role("dialog").get_by_text(f"2 of {len(wanted)}").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    idle(page)  # a rerun that is cut short makes Streamlit lose track of which messages the browser keeps
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("heading", name="60 of 60 training samples").wait_for()
    eventually(lambda: "area=" not in address(page))


def test_a_lasso_takes_samples_within_it_and_goes_with_its_axes(page, base, runs):
    visit(page, f"{base}/map?run=plain&x=CSL&y=Curvature&drag=Lasso", TITLE)
    corners = [(45, 5), (5, 50), (50, 95), (95, 45)]
    drag(page, [*corners, corners[0]])
    page.get_by_role("heading", name="training samples in the lasso").wait_for()
    eventually(lambda: "area=" in address(page))
    idle(page)
    area = zones.read_area(re.search(r"area=([^&]+)", address(page).replace("%7E", "~")).group(1))
    wanted = expected(runs, lambda x, y: zones.inside(area, x, y))
    assert len(wanted) > 3
    eventually(lambda: shown(page) == wanted, "the lasso did not select its samples")
    drawn = zones.inside(zones.lasso(*zip(*corners)), *np.random.default_rng(0).random((2, 2000)) * 100)
    stored = zones.inside(area, *np.random.default_rng(0).random((2, 2000)) * 100)
    assert (drawn == stored).mean() > 0.97
    page.get_by_role("combobox", name="Up").click()
    page.get_by_role("option", name="AUM", exact=True).click()
    page.get_by_role("heading", name="60 of 60 training samples").wait_for()
    eventually(lambda: "y=AUM" in address(page) and "area=" not in address(page))


def test_a_zone_is_chosen_and_narrowed_by_keyboard(page, base, runs):
    scores = open_run(runs / "plain").scores()
    member, order = zones.membership(scores), zones.order(scores)
    hard = scores["sample"].to_numpy()[order[member[order] == 1 + zones.NAMES.index("hard")]].tolist()
    assert len(hard) > 4
    visit(page, f"{base}/map?run=plain&x=CSL&y=Curvature", TITLE)
    page.get_by_role("radio", name="Late", exact=True).click()
    eventually(lambda: shown(page) == hard[:24], "the zone did not come")
    eventually(lambda: "zone=Late" in address(page))
    page.get_by_text("Choose by numbers").click()
    ends = page.locator("[class*='st-key-range-curvature'] input[type=range]")
    ends.nth(1).wait_for(state="attached")
    idle(page)
    ends.nth(1).focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    rows = dict(zip(scores["sample"], zones.axis(scores, "curvature").at))
    eventually(lambda: shown(page) == [one for one in hard if rows[one] <= 80], "the range did not narrow it")
    visit(page, f"{base}/map?run=plain&zone=Late%2C+doubted&x=CSL&y=Label+error&scale=Values", TITLE)
    eventually(lambda: set(shown(page)) == set(scores["sample"][member == 1]))


def test_a_point_opens_its_sample(page, base):
    visit(page, f"{base}/map?run=plain&drag=Zoom", TITLE)
    point = page.locator(".st-key-map .scatterlayer .trace").last.locator(".point").first
    point.wait_for(state="attached")
    assert page.locator(".st-key-map .xtitle").text_content().startswith("Label error")
    assert page.locator(".st-key-map .ytitle").text_content().startswith("CLD")
    spot = point.bounding_box()
    page.mouse.move(spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    page.get_by_role("dialog").get_by_text(re.compile(r"^Sample \d+ ·")).wait_for()
    eventually(lambda: "open=" in address(page))


def test_links_from_anywhere_do_no_harm(chromium, base):
    with watched(chromium, viewport={"width": 400, "height": 900}) as page:
        for query in ("area=1_2~x&zone=nope&x=nope&y=&m_page=99&m_per=1", "area=-5_-5~-4_-4&open=99999&drag=nope"):
            visit(page, f"{base}/map?run=hostile&{query}", TITLE)
            page.locator(".st-key-map .js-plotly-plot").wait_for()
            assert page.evaluate("window.hacked") is None
            assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
        page.get_by_role("radio", name="All").wait_for()
