"""How long Explore's work on columns takes, at any number of samples, without a browser.

    python benchmarks/explore.py --samples 1000000

Made-up paths, labels, scores and findings in memory. Prints, in milliseconds: each filter and each order the first time
and again, the rows of a page, and groups; and the peak memory of the process.
"""

import argparse
import resource
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd

from lossprint.app import data
from lossprint.app.views.explore import columns
from lossprint.app.views.explore.columns import Ask


def made_up(samples: int, classes: int = 100) -> data.Loaded:
    """The tables of a run that is nowhere on a disk."""
    random = np.random.default_rng(0)
    ids = np.arange(samples)
    labels = pd.Categorical.from_codes(
        random.integers(0, classes, samples), [f"class {one:03}" for one in range(classes)]
    )
    split = pd.Categorical.from_codes((random.random(samples) < 0.05).astype(int), ["train", "val"])
    paths = [f"images/{one // 1000:04}/{one:07}.jpg" for one in ids]
    table = pd.DataFrame({"sample": ids, "path": pd.Series(paths, dtype=object), "label": labels, "split": split})
    table["sequence"], table["frame"] = pd.Categorical([None] * samples), np.nan
    train = ids[split == "train"]
    scores = pd.DataFrame(
        {name: random.random(len(train)) for name in ("csl", "cld", "label_error", "outlier")}, index=train
    )
    scores["suggested_label"] = labels[train]
    flagged = np.sort(random.choice(train, len(train) // 20, replace=False))
    findings = pd.DataFrame({"kind": "label_error", "sample": flagged, "severity": 0.9})
    further = pd.DataFrame(
        {"sample": ids, "site": random.choice(["Ulm", "Bern", "Graz"], samples), "age": random.random(samples)}
    )
    run = SimpleNamespace(path="memory", further=lambda: further)
    return data.Loaded(run, 0, table.set_index("sample", drop=False), scores, findings, table[:0], table[:0])


def milliseconds(work, *arguments) -> float:
    begin = time.perf_counter()
    work(*arguments)
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    options = parser.parse_args()
    loaded = made_up(options.samples)
    data._load = lambda *_: loaded
    print(f"{options.samples:,} samples\n{'what':<34} {'first':>9} {'again':>9}  milliseconds")
    for what, ask, by, down in (
        ("all by id", Ask(), "sample", False),
        ("all by difficulty, highest first", Ask(), "csl", True),
        ("one label, by path", Ask(label="class 007"), "path", False),
        ("flagged of a split, by label", Ask(split="train", kind=columns.FLAGGED), "label", False),
        ("a part of a path", Ask(search="00012"), "sample", False),
        ("limits of a score and a column", Ask(score="cld", least=0.9, column="column:site", value="Ulm"), "csl", True),
        ("an age", Ask(score="column:age", most=0.1), "column:age", False),
    ):
        times = [milliseconds(columns.places, loaded, ask, by, down) for _ in range(6)]
        print(f"{what:<34} {times[0]:9.0f} {np.median(times[1:]):9.0f}")
    chosen = columns.places(loaded, Ask(), "csl", True)
    for what, work, arguments in (
        ("a page of 120 rows", columns.table, (loaded, chosen[:120])),
        ("groups by label", columns.groups, (loaded, "label", chosen)),
    ):
        times = [milliseconds(work, *arguments) for _ in range(6)]
        print(f"{what:<34} {times[0]:9.0f} {np.median(times[1:]):9.0f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
