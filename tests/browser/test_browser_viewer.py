"""Looking into an image, the sheet of keys and the search at the top, in a real Chromium."""

from pathlib import Path

import numpy as np
import pytest
from browser import MARKS, address, caption, check_access, eventually, flag_many, idle, serving, visit
from helpers import make_run
from PIL import Image

pytestmark = MARKS
GREY = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, 1).data].filter((_, at) => at % 4 === 0)"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run whose images are greys of 16 bits: each row goes from 1000 to 3000."""
    run = make_run(tmp_path_factory.mktemp("deep"), kind="folder", train=30, held_out=6)
    flag_many(run)
    ramp = np.tile(np.linspace(1000, 3000, 41).astype(np.uint16), (41, 1))
    for path in run.samples()["path"]:
        Image.fromarray(ramp).save(Path(run.manifest["dataset"]["root"]) / path, "PNG")
    with serving(run.path) as url:
        yield url


def test_a_deep_image_has_a_window_in_its_own_values_zoom_and_light(page, base):
    visit(page, f"{base}/sample?sample=10", "Sample")
    canvas = page.locator(".stage canvas").first
    canvas.wait_for()
    page.get_by_text("Light", exact=True).click()
    page.get_by_text("of this file's values, 1,000 to 3,000").wait_for()
    centre, width = page.get_by_label("Window centre"), page.get_by_label("width", exact=True)
    assert (float(centre.input_value()), float(width.input_value())) == (2000, 2000)
    assert canvas.evaluate(GREY)[0] == 0 and canvas.evaluate(GREY)[-1] == 255
    centre.fill("1500")
    width.fill("500")
    width.blur()
    # 1250 to 1750: a step of the ramp is 50
    wanted = np.clip((np.linspace(1000, 3000, 41) - 1250) / 500 * 255, 0, 255)
    eventually(lambda: np.abs(np.array(canvas.evaluate(GREY)) - wanted).max() <= 1, "the window was not applied")
    page.get_by_label("Brightness").fill("2")
    assert "brightness(2)" in canvas.evaluate("one => one.style.filter")
    page.get_by_role("button", name="As it was").click()
    assert canvas.evaluate(GREY)[-1] == 255 and float(centre.input_value()) == 2000
    stage = page.locator(".stage").first
    stage.focus()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.wheel(0, -300)
    eventually(lambda: "scale(1)" not in canvas.evaluate("one => one.style.transform"), "the wheel did not zoom")
    check_access(page, "the viewer")

    page.get_by_text("Light and window, side by side").click()
    page.get_by_role("button", name="Difference").click()
    page.get_by_text("No pixel differs as drawn.").wait_for()
    assert page.locator(".row.pair .stage").count() == 2
    check_access(page, "two images")


def test_the_keys_are_a_question_mark_away_and_the_search_opens_one_hit(page, base):
    visit(page, f"{base}/review", "Review")
    caption(page, 10).wait_for()
    sheet = page.locator("dialog[open]")
    page.keyboard.press("?")
    sheet.get_by_text("The class of that number").wait_for()
    page.keyboard.press("k")  # no answer below the sheet
    page.keyboard.press("?")
    sheet.wait_for(state="detached")
    assert caption(page, 10).is_visible() and page.get_by_text("Stored:").count() == 0
    card = page.locator(".card")
    card.get_by_text("Light", exact=True).click()
    card.get_by_label("Contrast").fill("3")
    image = card.locator(".pictures img")
    assert "contrast(3)" in image.evaluate("one => getComputedStyle(one).filter")
    page.keyboard.press("z")
    image.hover()
    page.mouse.wheel(0, -200)
    eventually(lambda: "matrix(3.6" in image.evaluate("one => getComputedStyle(one).transform"), "no zoom by wheel")
    check_access(page, "a question with its light")
    search = page.get_by_role("textbox", name="Search", exact=True)
    search.fill("nowhere at all")
    search.press("Enter")
    page.get_by_text("No sample has “nowhere at all”").wait_for()
    assert page.locator(".card").count() == 0
    check_access(page, "nothing found")
    search.fill("7")
    search.press("Enter")
    caption(page.get_by_role("dialog"), 7).wait_for()
    eventually(lambda: "open=7" in address(page))
    page.keyboard.press("Escape")
    idle(page)
    search.fill(".png")
    search.press("Enter")
    page.get_by_role("heading", name="Explore", exact=True).wait_for()
    eventually(lambda: "e_search=.png" in address(page))
