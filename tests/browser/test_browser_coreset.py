"""Coreset in a real Chromium: nothing measured, planted measurements, links, saving, and the drawer of a sample."""

import json
import shlex
from pathlib import Path

import pandas as pd
from browser import (
    MARKS,
    address,
    check_access,
    download,
    eventually,
    idle,
    visit,
)

from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.export.applied import applied
from lossprint.audit.runs.open import open_run

pytestmark = MARKS

# right answers of 24 held-out images with the seeds 0 and 1
RIGHT = {
    ("random", 0.1): (12, 14),
    ("cld", 0.1): (15, 15),
    ("csl_easy", 0.1): (9, 10),
    ("random", 0.3): (17, 16),
    ("cld", 0.3): (18, 18),
    ("random", 1.0): (20, 20),
}


def plant(run) -> None:
    label, other = run.classes[:2]
    rows = []
    for (method, fraction), found in RIGHT.items():
        for seed, right in enumerate(found):
            shared = {"method": method, "fraction": fraction, "seed": seed, "model": "small", "steps": 60}
            shared |= {"batch": 8, "options": "", "device": "cpu", "epochs": 4.0, "noisy": 0.1, "seconds": 1.0}
            shared |= {"train_samples": 6, "key": f"{method}{fraction}{seed}", "data": "x", "outdated": False}
            for split in ("test", "val"):
                rows += [{**shared, "split": split, "label": label, "right": 6, "of": 12}]
                rows += [{**shared, "split": split, "label": other, "right": right - 6, "of": 14}]
    run.update_evaluation(lambda _: pd.DataFrame(rows))
    shared = [("", 0.1, a, b, 1.0 if a == b else 0.5) for a in ("cld", "random") for b in ("cld", "random")]
    table = pd.DataFrame(shared, columns=["options", "fraction", "first", "second", "shared"]).assign(data="x")
    run.update_overlap(lambda _: table)


def test_from_the_command_to_what_was_measured(page, base, runs):
    visit(page, f"{base}/coreset?run=plain&method=CLD%2C+most+aligned&keep=10", "Coreset")
    page.get_by_text("Not measured yet").wait_for()
    run = open_run(runs / "plain")
    page.get_by_text(shlex.join(["evaluate", str(run.path.resolve())])).first.wait_for()
    plant(run)
    page.reload()
    page.get_by_text("CLD (most aligned) reached 57.7").wait_for()  # 15 of 26
    idle(page)
    page.locator(".js-plotly-plot").nth(1).wait_for()
    lines = page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')][0].data.filter(t => t.mode !== 'markers').map(t => t.x)"
    )
    assert lines == [[None]]  # the name of the reference line in the legend: nothing is drawn between
    check_access(page, "coreset")
    visit(page, f"{base}/coreset?run=plain&method=CLD%2C+most+aligned&keep=27&c_split=Validation+images", "Coreset")
    page.get_by_text("the nearest that was is 30").wait_for()
    page.get_by_text("Judged on validation images; small, 60 steps.").wait_for()
    page.get_by_text("27 %: not measured").wait_for()
    plant(open_run(runs / "hostile"))
    page.set_viewport_size({"width": 400, "height": 900})
    visit(page, f"{base}/coreset?run=hostile&c_judged=Accuracy+of+the+worst+class", "Coreset")
    page.locator(".js-plotly-plot").nth(1).wait_for()
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
    assert page.evaluate("window.hacked") is None


def test_options_are_in_the_link_and_in_the_files(page, base, runs):
    run = open_run(runs / "plain")
    visit(page, f"{base}/coreset?run=plain&method=Random&keep=40&seed=7&equal=true&least=2&twins=true", "Coreset")
    frame = download(page, "Download CSV")
    ask = coresets.Ask("random", 0.4, equal=True, at_least=2, one_of_duplicates=True, seed=7)
    chosen = coresets.choose(coresets.source_of(applied(run), methods=("random",)), ask)
    assert frame["sample"].tolist() == chosen["sample"].tolist()
    with page.expect_download() as event:
        page.get_by_role("button", name="Record").click()
    assert event.value.suggested_filename == "coreset-random-40pct-seed7.csv.json"
    record = json.loads(Path(event.value.path()).read_text())
    assert coresets.ask_of(record) == ask and record["samples"] == len(frame)
    with page.expect_download() as event:
        page.get_by_role("button", name="Manifest").click()
    table = pd.read_csv(event.value.path())
    assert sorted(table.query("split == 'train'")["path"]) == sorted(frame["path"])
    held_out = run.samples().query("split != 'train'")
    assert sorted(table.query("split != 'train'")["path"]) == sorted(held_out["path"])
    page.get_by_text("Same number of each class").click()
    eventually(lambda: "equal" not in address(page))
    page.get_by_text("Never both of a duplicate pair").click()
    eventually(lambda: "twins" not in address(page) and "seed=7" in address(page))


def test_a_subset_is_saved_and_opened_again_and_a_sample_of_it_looked_at(page, base, runs):
    run = open_run(runs / "plain")
    visit(page, f"{base}/coreset?run=plain&method=Random&keep=20&seed=5", "Coreset")
    page.get_by_label("Save in the run as").fill("my first")
    page.get_by_label("Save in the run as").press("Enter")
    idle(page)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved as my first, 12 samples").wait_for()
    assert run.selections() == ["my first"]
    assert coresets.kept(run)[0].samples == tuple(coresets.coreset(run, "random", fraction=0.2, seed=5)["sample"])
    visit(page, f"{base}/coreset?run=plain&keep=60", "Coreset")
    page.locator("[class*='st-key-selection-open']").get_by_role("button", name="Open").click()
    eventually(lambda: all(one in address(page) for one in ("method=Random", "keep=20", "seed=5")))
    idle(page)
    check_access(page, "saved coresets")
    tiles = page.locator("[class*='st-key-coreset-kept'] .tile")
    tiles.first.wait_for()
    tiles.first.click()
    first = coresets.kept(run)[0].samples[0]
    eventually(lambda: f"open={first}" in address(page))
    page.get_by_role("dialog").get_by_text("1 of 24").wait_for()
    page.keyboard.press("Escape")
    eventually(lambda: "open=" not in address(page))
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("my first was deleted.").wait_for()
    assert run.selections() == []
    page.get_by_role("button", name="Put it back").click()
    eventually(lambda: run.selections() == ["my first"])
    assert not coresets.damaged(run)
