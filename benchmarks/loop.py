"""Does `lossprint audit --from CLEANED` see a better dataset as better, and a worse one as worse?

    python benchmarks/loop.py RUN TRUTH.csv [--decisions 300] [--seeds 3] [--epochs N]

The most severe label errors of the run are settled by a simulated expert, who knows TRUTH.csv (path,true_label):

  right     gives each its true label, and keeps the right ones
  exclude   leaves out what is wrong instead, so that there is something to thin at random
  control   puts a wrong label on as many training samples with a right one, drawn at random

RUN is copied for each. One line an expert and way of judging, then the wall time.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.comparison.compare import compare
from lossprint.audit.comparison.summary import sentences
from lossprint.audit.export import export
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run

EXPERTS = ("right", "exclude", "control")


def decisions(run: Run, truth: pd.Series, expert: str, count: int, seed: int) -> list[dict]:
    """What the expert decides. truth: the true label by path."""
    samples = run.samples().set_index("sample")
    real = samples["path"].map(truth)
    if expert == "control":
        random = np.random.default_rng(seed)
        clean = samples.index[(samples["split"] == "train") & (samples["label"] == real)]
        chosen = random.choice(clean, count, replace=False)
        others = {one: [name for name in run.classes if name != one] for one in run.classes}
        label = {int(one): str(random.choice(others[samples.at[one, "label"]])) for one in chosen}
        return [_row(one, "relabel", new) for one, new in label.items()]
    found = run.findings()
    found = found[found["kind"] == "label_error"].sort_values("rank")
    rows = []
    for one in found["sample"].head(count).astype(int):
        given, right = samples.at[one, "label"], real[one]
        if given == right:
            rows.append(_row(one, "keep"))
        else:
            rows.append(_row(one, "relabel", right) if expert == "right" else _row(one, "exclude"))
    return rows


def _row(sample: int, decision: str, new: str | None = None) -> dict:
    row = {"finding": f"label_error:{sample}", "sample": sample, "decision": decision, "reviewer": "simulated"}
    return row | ({"new_label": new} if new else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--decisions", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--experts", nargs="+", choices=EXPERTS, default=list(EXPERTS))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the copies of the run stay; default: nowhere")
    options = parser.parse_args()
    truth = pd.read_csv(options.truth, dtype=str, keep_default_na=False).set_index("path")["true_label"]
    with tempfile.TemporaryDirectory() as folder:
        place, before = options.keep or Path(folder), None
        for expert in options.experts:
            copy = place / expert
            if not copy.exists():
                # Where the decisions and the weights are is not copied: the first are made anew, the others not needed.
                skip = shutil.ignore_patterns("reviews.db*", "checkpoints", "trajectories", "curvature", "exports")
                shutil.copytree(options.run, copy, ignore=skip)
                run = open_run(copy)
                open_reviews(run).add_all(decisions(run, truth, expert, options.decisions, 0))
            run = open_run(copy)
            cleaned = place / f"{expert}.csv"
            written = export.write_cleaned(applied(run), cleaned)
            if before is not None and run.comparison() is None:
                run.write_comparison(before)  # the arm `given` is the same: not trained again
            began = time.perf_counter()
            table = compare(run, cleaned, seeds=options.seeds, epochs=options.epochs)
            before = table
            took = time.perf_counter() - began
            per = table.drop_duplicates(["arm", "seed"]).groupby("arm")["seconds"].sum().round().to_dict()
            print(f"\n{expert}: {written.relabelled} relabelled, {written.excluded} excluded", flush=True)
            for line in sentences(table):
                print(f"  {line}", flush=True)
            first = table.iloc[0]
            sizes = table.groupby("arm")["train_samples"].first().to_dict()
            print(
                f"  {first['steps']} steps of {first['batch']}, training samples {sizes}; {took:.0f} s, trainings {per}"
            )


if __name__ == "__main__":
    main()
