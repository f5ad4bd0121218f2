"""Coresets as datasets and beside datasets: the manifest opens, what fits is told, and what does not is one line."""

import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from coreset_runs import at_home_on_disk, decide, lossprint
from helpers import digests, make_run, one_line, read_csv

from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.export import outfile
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvfile import csv_text
from lossprint.audit.system.parquet import read_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path):
    """30 training samples, ids 0 to 29, bag, coat and shirt in turn; 1 and 4 (coat) are flagged as wrong labels."""
    return at_home_on_disk(shutil.copytree(made, tmp_path / "home"))


# ------------------------------------------------------------------------------------------------- as a dataset


@pytest.mark.parametrize("kind", ["manifest", "folder"])
@pytest.mark.parametrize("where", ["data", ".", "elsewhere"])
def test_the_manifest_opens_as_a_dataset_where_it_reaches_the_images(tmp_path, capsys, kind, where):
    run = at_home_on_disk(make_run(tmp_path, kind=kind).path.parent)
    decide(run, 1, "relabel", "bag")
    decide(run, 30, "exclude", finding="outlier:30")  # a validation sample
    decide(run, 43, "relabel", "bag", finding="outlier:43")  # a test sample, a coat
    out, place = tmp_path / "subset.csv", tmp_path / where / "subset-labels.csv"
    asked = ["export", "coreset", run.path, "--method", "cld", "--per-class", "3", "--out", out, "--manifest", place]
    if where == "elsewhere":
        status, _, told = lossprint(capsys, *asked)
        assert status == 2 and f"its images are reached, {tmp_path / 'data'} or a folder above it" in told
        assert not out.exists() and not place.exists()
        return
    status, told, _ = lossprint(capsys, *asked)
    assert status == 0 and told.splitlines()[-1] == f"as a dataset, with the validation and test samples: {place}"
    opened = open_dataset(place)
    assert not len(opened.unreadable) and opened.samples["split"].value_counts().to_dict() == {
        "train": 9,
        "val": 11,
        "test": 12,
    }
    known = run.samples().set_index("sample")
    chosen = pd.DataFrame(read_csv(out)).astype({"sample": int}).set_index("sample").sort_index()
    train = opened.samples[opened.samples["split"] == "train"]
    before = "" if where == "data" else "data/"
    assert train["path"].tolist() == [before + path for path in chosen["path"]]
    assert train["label"].tolist() == chosen["label"].tolist()
    label = opened.samples.set_index("path")["label"]
    assert known["label"][43] == "coat" and label[before + known["path"][43]] == "bag"
    assert before + known["path"][30] not in label
    again = digests(tmp_path)
    assert lossprint(capsys, *asked)[0] == 0 and digests(tmp_path) == again
    parquet = place.with_name("more-labels.parquet")
    assert lossprint(capsys, *asked[:-1], parquet)[0] == 0
    pd.testing.assert_frame_equal(open_dataset(parquet).samples, opened.samples)


def test_a_coreset_and_its_manifest_are_of_the_same_decisions(run, tmp_path, capsys, monkeypatch):
    """A validation sample that is excluded between the two is in the manifest: the record beside it knows nothing."""
    look = outfile.refuse_record

    def stored_meanwhile(path):
        if path == tmp_path / "c.csv":
            open_reviews(run).add(finding="outlier:31", sample=31, decision="exclude", reviewer="ann")
        look(path)

    monkeypatch.setattr(outfile, "refuse_record", stored_meanwhile)
    folder = Path(run.manifest["dataset"]["root"])
    asked = ("export", "coreset", run.path, "--method", "cld", "--fraction", "0.5")
    asked += ("--out", tmp_path / "c.csv", "--manifest", folder / "m.csv")
    assert lossprint(capsys, *asked)[0] == 0
    before = outfile.read_record(folder / "m.csv")["decisions"]["last_review"]
    assert before == outfile.read_record(tmp_path / "c.csv")["decisions"]["last_review"]
    held_out = [row for row in read_csv(folder / "m.csv") if row["split"] != "train"]
    assert len(held_out) == 24


def test_a_manifest_of_frames_keeps_their_places(tmp_path):
    run = at_home_on_disk(make_run(tmp_path, frames=True).path.parent)
    frame = coresets.manifest(coresets.source_of(applied(run)), coresets.coreset(run, "random", fraction=0.5))
    assert list(frame) == ["path", "label", "split", "sequence", "frame"] and frame["frame"].notna().all()


def test_a_manifest_replaces_no_other_file_and_not_the_coreset(run, tmp_path, capsys):
    mine = run.path.parent / "data" / "mine.csv"
    shutil.copyfile(mine.with_name("labels.csv"), mine)  # the columns of a manifest, but somebody's own
    above = run.path.parent / "above.csv"
    shutil.copyfile(mine, above)
    before = digests(tmp_path)
    out = tmp_path / "home" / "out.csv"
    for place, told in (
        (mine, "expected a new file or an earlier export"),
        (above, "expected a new file or an earlier export for the manifest"),
        (mine.with_name("labels.csv"), "expected another file than the dataset's own manifest"),
        (out, "expected another file for --manifest than for --out"),
        (run.path.parent / "x.json", "ends in .csv"),
    ):
        asked = ["--method", "cld", "--number", "5", "--out", out, "--manifest", place]
        status, _, error = lossprint(capsys, "export", "coreset", run.path, *asked)
        assert status == 2 and told in error
    assert digests(tmp_path) == before
    gone = Run(run.path, run.manifest | {"dataset": {**run.manifest["dataset"], "kind": "torchvision"}})
    assert "expected a run of image files" in one_line(coresets.reached, gone, out)


# ------------------------------------------------------------------------------------------------- applied


@pytest.fixture
def exported(run, tmp_path):
    """The CSV of a coreset of 9 of the 30 training samples, and the manifest of its dataset."""
    out = tmp_path / "coreset.csv"
    coresets.write(run, coresets.source_of(applied(run)), Ask("cld", per_class=3), out)
    return out, run.path.parent / "data" / "labels.csv"


def test_a_coreset_fits_its_dataset(run, exported, capsys):
    out, dataset = exported
    status, told, _ = lossprint(capsys, "coreset", "apply", out, "--dataset", dataset)
    assert status == 0
    assert told == f"fits: 9 of 30 training samples of {dataset}, 3 classes, 3 to 3 of each\n"
    decide(run, int(read_csv(out)[0]["sample"]), "relabel", "shirt")
    coresets.write(run, coresets.source_of(applied(run)), Ask("random", number=30), out)
    fit = coresets.apply(out, dataset)
    assert fit.relabelled == 1 and fit.of == 30 and fit.fingerprint and fit.untouched
    dataset.write_text(dataset.read_text().replace(",test\n", ",val\n"))
    out.write_text("".join(out.read_text().splitlines(keepends=True)[:-1]))
    told = lossprint(capsys, "coreset", "apply", out, "--dataset", dataset)[1]
    assert told.splitlines()[0].startswith("fits: 29 of 30")
    assert "the file was changed after it was written" in told and "the dataset has changed since" in told
    out.with_name("coreset.csv.json").unlink()
    fit = coresets.apply(out, dataset)
    assert fit.fingerprint is None and fit.untouched is None


def test_a_coreset_as_parquet_is_the_same_one(run, exported, tmp_path, capsys):
    out, dataset = exported
    same = tmp_path / "coreset.parquet"
    assert lossprint(capsys, "export", "coreset", run.path, "--like", out, "--out", same)[0] == 0
    assert read_table(same).column_names == list(read_csv(out)[0])
    for one in ("sample", "path", "label"):
        assert [str(cell) for cell in read_table(same)[one].to_pylist()] == [row[one] for row in read_csv(out)]
    told = [lossprint(capsys, "coreset", "apply", file, "--dataset", dataset)[:2] for file in (out, same)]
    assert told[0] == told[1] and told[0][0] == 0
    assert coresets.apply(same, dataset).untouched
    again = tmp_path / "again.parquet"
    assert lossprint(capsys, "export", "coreset", run.path, "--like", same, "--out", again)[0] == 0
    assert again.read_bytes() == same.read_bytes()
    pq.write_table(read_table(same).slice(1), same)
    assert coresets.apply(same, dataset).untouched is False
    same.write_bytes(b"PAR1 not at all")
    status, _, error = lossprint(capsys, "coreset", "apply", same, "--dataset", dataset)
    assert status == 2 and "expected a coreset in Parquet" in error and error.count("\n") == 1


def test_a_coreset_fits_a_folder(tmp_path):
    folder = make_run(tmp_path, kind="folder").path.parent / "data"
    rows = open_dataset(folder).samples.query("split == 'train'")[["sample", "path", "label"]]
    out = tmp_path / "folder.csv"
    out.write_text(csv_text(rows.iloc[::3]))
    fit = coresets.apply(out, folder)
    assert (len(fit.samples), fit.of, fit.relabelled, fit.fingerprint, fit.untouched) == (10, 30, 0, None, None)


def test_a_coreset_with_letters_in_the_other_unicode_form_fits(tmp_path):
    run = make_run(tmp_path, classes=("B\u00e4r", "\u00d6l", "c"))
    data, out = tmp_path / "data", tmp_path / "coreset.csv"
    coresets.write(run, coresets.source_of(applied(run)), Ask("random", fraction=1.0), out)
    out.write_text(unicodedata.normalize("NFD", out.read_text()).replace("/", "\\"))
    fit = coresets.apply(out, data / "labels.csv")
    assert len(fit.samples) == 30 and fit.relabelled == 0 and fit.untouched is False


def test_paths_and_labels_that_a_spreadsheet_would_run_come_back_as_they_are(tmp_path):
    run = make_run(tmp_path, classes=("=1+1", "@b", "'-c"))
    data, out = tmp_path / "data", tmp_path / "coreset.csv"
    table = pd.read_csv(data / "labels.csv", dtype=str)
    (data / table["path"][0]).rename(data / "=cmd.png")
    (data / "labels.csv").write_text(csv_text(table.assign(path=["=cmd.png", *table["path"][1:]])))
    run.write_scores(run.scores().assign(path=lambda scores: ["=cmd.png", *scores["path"][1:]]))
    coresets.write(run, coresets.source_of(applied(run)), Ask("random", fraction=1.0), out)
    assert "\n0,=cmd.png,'-c," in out.read_text()
    fit = coresets.apply(out, data / "labels.csv")
    assert len(fit.samples) == 30 and "=cmd.png" in set(fit.samples["path"]) and fit.relabelled == 0
    assert set(fit.samples["label"]) == {"=1+1", "@b", "'-c"}


def changed(text: str, row: int, column: int, cell: str) -> str:
    lines = text.splitlines()
    cells = lines[row].split(",")
    cells[column] = cell
    lines[row] = ",".join(cells)
    return "\n".join(lines) + "\n"


FAULTS = {
    "no column": (lambda t: t.replace("label", "class"), "found 0 of 'label'"),
    "two of one": (lambda t: t.replace("score", "path"), "found 2 of 'path'"),
    "doubled": (lambda t: t + t.splitlines()[1] + "\n", "again in line 11"),
    "no number": (lambda t: changed(t, 3, 0, "3.0"), "found '3.0' in line 4"),
    "no digits": (lambda t: changed(t, 3, 0, "٣"), "expected a whole number as sample"),
    "negative": (lambda t: changed(t, 3, 0, "-3"), "found '-3' in line 4"),
    "huge": (lambda t: changed(t, 3, 0, "9" * 40), "expected a whole number as sample"),
    "out of range": (lambda t: changed(t, 3, 0, "54"), "which has 54 in"),
    "other path": (lambda t: changed(t, 3, 1, "images/x.png"), "found 1 others, such as 'images/x.png' for sample"),
    "validation": (lambda t: changed(changed(t, 3, 0, "30"), 3, 1, "images/val_000.png"), "of the val split"),
    "test": (lambda t: changed(changed(t, 3, 0, "42"), 3, 1, "images/test_000.png"), "of the test split"),
    "unknown label": (lambda t: changed(t, 3, 2, "wolf"), "such as 'wolf' for sample"),
    "no rows": (lambda t: t.splitlines()[0] + "\n", "expected samples in"),
    "empty": (lambda t: "", "found an empty file"),
    "blank": (lambda t: "\n\n", "expected"),
    "ragged": (lambda t: t + "1,2\n", "expected 5 cells in line 11"),
    "too many": (lambda t: t.replace("\n", ",9\n").replace("rank,9", "rank"), "expected 5 cells in line 2"),
    "quotes": (lambda t: t + '"1', "expected a CSV file"),
    "binary": (lambda t: bytes(range(256)) * 9, "expected"),
    "null": (lambda t: b"\0" * 5000, "expected"),
    "utf-16": (lambda t: t.encode("utf-16") + b"x", "expected UTF-16 text"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_one_line(exported, capsys, fault):
    out, dataset = exported
    change, told = FAULTS[fault]
    new = change(out.read_text())
    out.write_bytes(new if isinstance(new, bytes) else new.encode())
    status, printed, error = lossprint(capsys, "coreset", "apply", out, "--dataset", dataset)
    assert status == 2 and not printed and told in error, error
    assert error.startswith("lossprint: expected ") and error.count("\n") == 1 and len(error) < 600


def test_a_file_from_a_spreadsheet_still_fits(exported):
    out, dataset = exported
    text = out.read_text()
    out.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(coresets.apply(out, dataset).samples) == 9


def test_what_is_gone_is_told(exported, tmp_path, capsys):
    out, dataset = exported
    first, run_folder = read_csv(out)[0]["path"], tmp_path / "home" / "run"
    for csv, data, told in (
        (out, tmp_path / "nowhere", "found nothing at"),
        (tmp_path / "no.csv", dataset, "found nothing at"),
        (tmp_path, dataset, "found no file at"),
        (out, run_folder, "expected"),
    ):
        status, _, error = lossprint(capsys, "coreset", "apply", csv, "--dataset", data)
        assert status == 2 and told in error and error.count("\n") == 1
    (dataset.parent / first).unlink()
    status, _, error = lossprint(capsys, "coreset", "apply", out, "--dataset", dataset)
    assert status == 2 and f"found 1 that are not, such as {first!r} (no such file)" in error
    shutil.rmtree(dataset.parent / "images")
    assert "expected images that can be read" in lossprint(capsys, "coreset", "apply", out, "--dataset", dataset)[2]
