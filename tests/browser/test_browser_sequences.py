"""The Sequences page in a real Chromium: from a planted exchange to a manifest in the right order."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from browser import MARKS, check_access, eventually, idle, serving, visit, watched
from videos import make_video_run

from lossprint.audit.review.reviews import open_reviews

pytestmark = MARKS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_video_run(tmp_path_factory.mktemp("sequences"))


@pytest.fixture(scope="module")
def base(made):
    with serving(made[0].path) as address:
        yield address


def span_of(made, error: str):
    """The planted error and the row of the found span."""
    run, truth = made
    planted = truth.spans[truth.spans["error"] == error].iloc[0]
    spans = run.spans()
    return planted, spans[spans["sequence"] == planted["sequence"]].iloc[0]


def standing(run) -> pd.DataFrame:
    history = open_reviews(run).history()
    return history[history["stands"]]


def corrected(run, folder) -> pd.DataFrame:
    out = folder / "corrected.csv"
    command = [sys.executable, "-m", "lossprint.audit.cli", "export", "manifest", str(run.path), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return pd.read_csv(out)


def open_span(page, base, span) -> None:
    visit(page, f"{base}/sequences?span={span['span']}", "Sequences")
    page.locator(".st-key-seq-card").get_by_text(span["sequence"]).first.wait_for()
    page.locator(".st-key-seq-one canvas").first.wait_for()
    idle(page)


def at_rest(place) -> bool:
    """The page scrolls smoothly, and on a busy machine slowly: a click in between lands elsewhere."""
    before = place.bounding_box()
    place.page.wait_for_timeout(300)
    return place.bounding_box() == before


def test_exchanged_phases_are_found_accepted_and_exported_in_the_right_order(page, base, made, tmp_path):
    run, truth = made
    visit(page, f"{base}/sequences", "Sequences")
    _, span = span_of(made, "swap")
    assert run.spans()["span"].iloc[0] == span["span"]  # the most severe comes first
    said = page.get_by_text("have each other's labels.")
    said.first.wait_for()
    page.get_by_role("button", name="Exchange the labels").click()
    eventually(lambda: len(standing(run)) == span["frames"])
    _, moved = span_of(made, "moved")
    page.get_by_text("stand in each other's place.").first.wait_for()
    idle(page)
    page.keyboard.press("a")
    eventually(lambda: len(standing(run)) == span["frames"] + moved["frames"])
    idle(page)
    table = corrected(run, tmp_path)
    for error in ("swap", "moved"):
        name = truth.spans.loc[truth.spans["error"] == error, "sequence"].iloc[0]
        mine = truth.frames[truth.frames["sequence"] == name].sort_values("true_frame")
        found = table[table["sequence"] == name]
        assert found["path"].tolist() == mine["path"].tolist()
        assert found["label"].tolist() == mine["true_label"].tolist()
        assert found["frame"].tolist() == list(range(len(mine)))
    page.keyboard.press("u")
    eventually(lambda: len(standing(run)) == span["frames"])
    page.get_by_text("stand in each other's place.").first.wait_for()
    idle(page)
    page.keyboard.press("u")
    eventually(lambda: standing(run).empty)


def test_ends_are_moved_by_keys_and_by_dragging_and_a_finding_is_rejected(page, base, made):
    run, _ = made
    _, span = span_of(made, "phase")
    open_span(page, base, span)
    band = page.locator(".st-key-seq-one .band")
    band.focus()
    page.keyboard.press("+")  # close up, where ends are further apart; then all of the video, to drag in
    for key in ("]", "ArrowLeft", "ArrowLeft", "["):
        page.keyboard.press(key)
    last = page.get_by_label("Last frame")
    eventually(lambda: last.input_value() == str(span["end"] - 2))
    page.get_by_role("button", name="Show the whole video").click()
    idle(page)
    row = page.locator(f".st-key-seq-all .row[data-name='{span['sequence']}']")
    assert [name for name in ("Given", "Suggested", "Loss print", "Severity") if name in row.inner_text()] == [
        *("Given", "Suggested", "Loss print", "Severity")
    ]
    box, count = band.bounding_box(), int((run.frames()["sequence"] == span["sequence"]).sum())

    def place(position: float) -> float:
        return box["x"] + position / count * box["width"]

    page.mouse.move(place(span["start"]), box["y"] + 8)
    page.mouse.down()
    page.mouse.move(place(span["start"] + 1.5), box["y"] + 8)
    page.mouse.move(place(span["start"] + 3), box["y"] + 8)
    page.mouse.up()
    first = page.get_by_label("First frame")
    eventually(lambda: first.input_value() == str(span["start"] + 3))
    idle(page)
    page.get_by_role("button", name=f"Relabel as {span['suggested_label']}").click()
    eventually(lambda: len(standing(run)) == span["frames"])
    rows = standing(run)
    frames = run.frames().set_index("sample")["frame"]
    changed = frames[rows.loc[rows["decision"] == "relabel", "sample"]]
    assert (changed.min(), changed.max()) == (span["start"] + 3, span["end"] - 2)
    assert set(rows.loc[rows["decision"] == "relabel", "new_label"]) == {span["suggested_label"]}
    idle(page)
    open_span(page, base, span)
    page.get_by_text("accepted by").first.wait_for()
    page.keyboard.press("k")
    eventually(lambda: set(standing(run).drop_duplicates("sample", keep="last")["decision"]) == {"keep"})
    for left in (span["frames"], 0):
        idle(page)
        page.keyboard.press("u")
        eventually(lambda left=left: len(standing(run)) == left)


def test_the_pointer_shows_the_frame_and_picks_a_finding(page, base, made):
    run, _ = made
    _, span = span_of(made, "window")
    visit(page, f"{base}/sequences", "Sequences")
    band = page.locator(f".st-key-seq-all .row[data-name='{span['sequence']}'] .band")
    band.wait_for()
    band.scroll_into_view_if_needed()
    idle(page)
    box, count = band.bounding_box(), int((run.frames()["sequence"] == span["sequence"]).sum())
    middle = (span["start"] + span["end"] + 1) / 2
    page.mouse.move(box["x"] + middle / count * box["width"], box["y"] + 10)
    tip = page.locator(".st-key-seq-all .tip")
    tip.get_by_text(f"frame {int(np.floor(middle))}").wait_for()
    assert f"suggested: {span['suggested_label']}" in tip.inner_text()
    eventually(lambda: (tip.locator("img").get_attribute("src") or "").startswith("data:image"))
    page.mouse.down()
    page.mouse.up()
    page.locator(".st-key-seq-card").get_by_text(span["sequence"]).first.wait_for()
    eventually(lambda: f"span={span['span'].replace(':', '%3A')}" in page.url or f"span={span['span']}" in page.url)


def test_brackets_work_from_anywhere_and_other_ends_can_be_taken_back(page, base, made):
    run, _ = made
    _, span = span_of(made, "swap")
    open_span(page, base, span)
    page.keyboard.press("|")
    page.keyboard.press("ArrowRight")
    second = page.get_by_label("Second block from")
    eventually(lambda: second.input_value() == str(int(span["middle"]) + 1))
    idle(page)
    page.get_by_role("button", name="Ends as found").click()
    eventually(lambda: second.input_value() == str(int(span["middle"])))
    assert standing(run).empty


def test_a_finding_of_the_rows_below_comes_into_view(page, base, made):
    _, span = span_of(made, "boundary")
    visit(page, f"{base}/sequences", "Sequences")
    band = page.locator(f".st-key-seq-all .row[data-name='{span['sequence']}'] .band")
    band.scroll_into_view_if_needed()
    band.focus()
    page.keyboard.press("Enter")
    card = page.locator(".st-key-seq-card")
    card.get_by_text(f"in {span['sequence']}").first.wait_for()
    eventually(lambda: -5 < card.bounding_box()["y"] < 200 and at_rest(card))
    idle(page)
    page.get_by_role("combobox", name="Finding").click()
    page.get_by_role("option").first.click()
    card.get_by_text(f"in {made[0].spans()['sequence'].iloc[0]}").first.wait_for()


def test_links_name_a_finding_a_video_and_what_is_shown(page, base, made):
    run, _ = made
    spans = run.spans()
    plain = next(name for name in run.frames()["sequence"].unique() if name not in set(spans["sequence"]))
    visit(page, f"{base}/sequences?sequence={plain}", "Sequences")
    page.locator(f".st-key-seq-all .row[data-name='{plain}']").wait_for()
    assert page.locator(".st-key-seq-all .row").count() == 1
    label = spans[spans["kind"] == "sequence_label"].iloc[-1]
    visit(page, f"{base}/sequences?sequence={label['sequence']}&s_kind=Wrong+label", "Sequences")
    page.locator(".st-key-seq-card").get_by_text(f"in {label['sequence']}").first.wait_for()
    shown = page.locator(".st-key-seq-all .row")
    eventually(lambda: shown.count() == spans.loc[spans["kind"] == "sequence_label", "sequence"].nunique())
    visit(page, f"{base}/sequences?span=sequence_label:0", "Sequences")
    page.get_by_text("There is no finding").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_scrolls_sideways_on_a_phone_and_all_have_names(chromium, base, scheme):
    with watched(chromium, viewport={"width": 400, "height": 900}, color_scheme=scheme) as page:
        visit(page, f"{base}/sequences", "Sequences")
        page.locator(".st-key-seq-one canvas").first.wait_for()
        idle(page)
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
        check_access(page, "sequences")


def test_review_asks_about_a_whole_span_and_links_to_its_timeline(page, base, made):
    run, _ = made
    _, span = span_of(made, "moved")
    visit(page, f"{base}/review?finding={span['span']}", "Review")
    page.get_by_text("stand in each other's place.").first.wait_for()
    page.get_by_text(f"8 of {span['frames']} frames are shown.").wait_for()
    page.get_by_role("link", name="Open in Sequences").wait_for()
    idle(page)
    page.keyboard.press("a")
    eventually(lambda: len(standing(run)) == span["frames"])
    assert set(standing(run)["decision"]) == {"reorder"} and standing(run)["new_frame"].notna().all()
    page.get_by_text("decisions stored").first.wait_for()
    idle(page)
    page.keyboard.press("u")
    eventually(lambda: standing(run).empty)
    visit(page, f"{base}/?run=run", "Overview")
    page.get_by_text("Spans out of order").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_with_one_run_the_comparison_says_how_to_make_another(chromium, base, scheme):
    with watched(chromium, color_scheme=scheme) as page:
        visit(page, f"{base}/compare", "Compare runs")
        page.get_by_text("--seed").first.wait_for()
        idle(page)
        check_access(page, "comparison of one run")
