"""Before & after in a real Chromium: nothing decided, not compared yet, and a comparison that was planted."""

import numpy as np
import pandas as pd
from browser import (
    MARKS,
    check_access,
    idle,
    visit,
)

from lossprint.audit.comparison import compare
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

pytestmark = MARKS


def plant(run, arms: dict[str, float]) -> None:
    """A comparison of two seeds on the held-out samples; accuracies of the arms."""
    samples = run.samples().query("split != 'train'").sort_values("sample")
    given = pd.Index(run.classes).get_indexer(samples["label"])
    frames = []
    for arm, share in arms.items():
        for seed in (0, 1):
            wrong = np.arange(len(given)) % 10 >= 10 * share
            each = {"arm": arm, "seed": seed, "sample": samples["sample"].to_numpy()}
            each |= {
                "split": samples["split"].to_numpy(str),
                "given": given,
                "decided": given,
                "predicted": np.where(wrong, 1 - given, given),
                "key": arm,
            }
            each |= {
                "train_samples": 60,
                "steps": 120,
                "epochs": 8,
                "batch": 8,
                "model": "small",
                "device": "cpu",
                "seconds": 3.0,
            }
            frames.append(
                pd.DataFrame(each).assign(seeds=2, relabelled=9, excluded=4, cleaned="/x/<b>.csv", last_review=1)
            )
    run.write_comparison(pd.concat(frames)[list(compare.COLUMNS)])


def test_from_the_first_decision_to_the_comparison(page, base, runs):
    visit(page, f"{base}/loop?run=plain", "Before & after")
    page.get_by_text("Nothing decided yet").wait_for()
    run = open_run(runs / "plain")
    for sample in (10, 11):
        open_reviews(run).add(finding=f"label_error:{sample}", sample=sample, decision="exclude", reviewer="Ann")
    page.reload()
    page.get_by_text("Not compared yet").wait_for()
    page.get_by_text(f"--out {run.path.resolve()}").first.wait_for()
    plant(run, {"given": 0.7, "cleaned": 0.9, "thinned": 0.7})
    page.reload()
    page.get_by_text("Cleaned labels: ").first.wait_for()
    page.get_by_text("1 decision made since is not in this comparison").wait_for()
    page.get_by_text("120 steps of 8 images").wait_for()
    idle(page)
    page.locator(".js-plotly-plot").nth(1).wait_for()
    check_access(page, "loop")
    plant(open_run(runs / "hostile"), {"given": 0.9, "cleaned": 0.6, "thinned": 0.9})
    page.set_viewport_size({"width": 400, "height": 900})
    visit(page, f"{base}/loop?run=hostile&judged=Test%2C+given+labels", "Before & after")
    page.locator(".js-plotly-plot").nth(1).wait_for()
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
