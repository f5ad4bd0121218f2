"""Losses of rows that have no images."""

import numpy as np
import pandas as pd
import pytest
from helpers import refused

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.dataset import sample_reader
from lossprint.audit.runs.open import open_run


@pytest.fixture(params=[".csv", ".tsv", ".parquet"])
def words(tmp_path, request):
    """A table of 60 rows, of which two are the same but for their labels, and the losses of four checkpoints."""
    rng, at = np.random.default_rng(0), np.arange(60)
    table = pd.DataFrame({"path": [f"row-{k}" for k in at], "income": rng.integers(0, 10**6, 60), "age": at % 9})
    table["label"] = np.array(["high", "low"])[at % 2]
    table["split"] = np.where(at % 5 == 0, "val", "train")
    table.loc[7, ["income", "age"]] = table.loc[4, ["income", "age"]]
    path = tmp_path / f"rows{request.param}"
    if request.param == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if request.param == ".tsv" else ",")
    losses = np.exp(-np.outer(rng.random(60) + 0.1, np.arange(1, 5)))
    losses[11] = 3
    train = at % 5 != 0
    np.savez(tmp_path / "l.npz", train_losses=losses[train], val_losses=losses[~train])
    return ["import", tmp_path / "l.npz", "--dataset", path, "--out", tmp_path / "run", "--quiet"]


def test_losses_of_rows_without_images_are_imported_where_it_is_said(words, tmp_path, capsys):
    assert "--no-images imports the losses of rows that have none" in refused(capsys, *words)
    assert cli.main([*map(str, words), "--no-images"]) == 0
    run = open_run(tmp_path / "run")
    assert len(run.samples()) == 60 and run.classes == ["high", "low"]
    pairs = run.duplicates()
    assert pairs[pairs["kind"] == "exact"][["sample", "partner"]].values.tolist() == [[4, 7]]
    read = sample_reader(run.manifest["dataset"])
    income = pd.read_parquet(words[3])["income"] if str(words[3]).endswith("parquet") else None
    assert read("row-3").startswith("income: ") and read("row-3").endswith("\nage: 3")
    assert income is None or read("row-3") == f"income: {income[3]}\nage: 3"


def test_exports_of_rows_name_rows_and_no_images(words, tmp_path, capsys):
    assert cli.main([*map(str, words), "--no-images"]) == 0
    out, kind = tmp_path / "out", str(words[3]).rpartition(".")[2]
    out.mkdir()
    for what, name in (
        ("cleaned", "c.csv"),
        ("findings", "f.csv"),
        ("manifest", f"m.{kind}"),
        ("labelstudio", "l.json"),
    ):
        assert cli.main(["export", what, str(tmp_path / "run"), "--out", str(out / name)]) == 0, what
    assert pd.read_csv(out / "c.csv")["path"].tolist() == [f"row-{k}" for k in range(60)]
    assert '"text": "income: ' in (out / "l.json").read_text() and '"image"' not in (out / "l.json").read_text()
    assert "found one of kind 'rows'" in refused(capsys, "export", "cleaned", tmp_path / "run", "--out", "tree")
    assert cli.main(["report", str(tmp_path / "run"), "--out", str(out / "r.html")]) == 0
    assert "income: " in (out / "r.html").read_text()


def test_a_folder_has_no_rows(tmp_path, capsys):
    words = ["import", tmp_path / "l.npz", "--dataset", tmp_path, "--out", tmp_path / "run", "--no-images"]
    assert "expected a CSV or Parquet manifest with --no-images" in refused(capsys, *words)
