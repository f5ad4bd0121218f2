"""What every kind of dataset has to stand: a real audit, decisions and exports, by the commands that users type."""

import json
from pathlib import Path

import numpy as np
from helpers import read_csv
from PIL import Image

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.dataset import image_reader, open_dataset
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run


def audited_by_command(name: str, out: Path) -> Run:
    """A run of two epochs, made by the command line, of which the second call finds nothing left to do."""
    command = ["audit", name, "--out", str(out), "--epochs", "2", "--curvature-checkpoints", "1", "--quiet"]
    assert cli.main(command) == 0
    before = (out / "scores.parquet").stat().st_mtime_ns
    assert cli.main([*command, "--resume"]) == 0 and (out / "scores.parquet").stat().st_mtime_ns == before
    run = open_run(out)
    assert run.manifest["dataset"]["source"] == name and len(run.trajectory("train").checkpoints) == 2
    assert set(run.scores()["sample"]) == set(run.samples().query("split == 'train'")["sample"])
    return run


def exports_as_decided(run: Run, name: str, folder: Path) -> None:
    """Relabel one training sample, leave one out: the cleaned folder is as decided, a coreset fits the dataset."""
    train = run.samples().query("split == 'train'")
    (first, given), other = train.iloc[0][["sample", "label"]], int(train["sample"].iloc[1])
    new = next(label for label in run.classes if label != given)
    reviews = open_reviews(run)
    reviews.add(finding=f"label_error:{first}", sample=int(first), decision="relabel", new_label=new, reviewer="ann")
    reviews.add(finding=f"outlier:{other}", sample=other, decision="exclude", reviewer="ann")

    assert cli.main(["export", "cleaned", str(run.path), "--out", str(folder / "clean")]) == 0
    rows, read = read_csv(folder / "clean" / "labels.csv"), image_reader(name)
    known = run.samples().set_index("path")
    assert {row["source"] for row in rows} == set(known.index) - {train["path"].iloc[1]}
    for row in rows:
        pixels = np.asarray(Image.open(folder / "clean" / row["path"]).convert("RGB"))
        assert np.array_equal(pixels, np.asarray(read(row["source"])))
        wanted = new if row["source"] == train["path"].iloc[0] else known.at[row["source"], "label"]
        assert row["label"] == wanted and row["split"] == known.at[row["source"], "split"]
    assert len(open_dataset(folder / "clean").samples) == len(rows)

    half = ["export", "coreset", str(run.path), "--method", "random", "--fraction", "0.5"]
    assert cli.main([*half, "--out", str(folder / "half.csv")]) == 0
    assert cli.main(["coreset", "apply", str(folder / "half.csv"), "--dataset", name]) == 0
    record = json.loads((folder / "half.csv.json").read_text())
    assert record["run"]["fingerprint"] == run.manifest["dataset"]["fingerprint"]
    assert cli.main(["report", str(run.path), "--out", str(folder / "report.html")]) == 0


def snippets_of(run: Run, folder: Path, monkeypatch, **names) -> dict:
    """What the app's pieces of code for half.csv, in `folder`, leave behind: by title, their names and values."""
    from lossprint.app import data
    from lossprint.app.views.coreset import numbers
    from lossprint.audit.coresets.coreset import Ask, read

    made = numbers.snippets(data.load(run.path), read(folder / "half.csv")[0], Ask("random", fraction=0.5), "half.csv")
    monkeypatch.chdir(folder)
    left = {}
    for title, text in made.items():
        left[title] = dict(names)
        exec(compile(text, title, "exec"), left[title])  # the code is our own
    return left
