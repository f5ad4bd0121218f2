"""`--group-by`, `--seeds` and `--folds` of frozen runs: what a column joins is never in two folds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo

from lossprint.audit import LossprintError, open_run
from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.runs.verify import verify
from lossprint.audit.training.folds import fold_of
from lossprint.audit.training.inputs import Inputs
from lossprint.audit.workflow.audit import audit

PATIENTS, EACH, EPOCHS = 36, 4, 30
WRONG = (3, 16, 29)  # patients all of whose labels are those of the next class


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A manifest of 36 patients of 4 images, and a file of features that know the patient better than the class."""
    labels = Path(cut_demo(tmp_path_factory.mktemp("patients"), 120, 5))
    table = pd.read_csv(labels, dtype=str).head(PATIENTS * EACH + 30)
    random, rows = np.random.default_rng(0), np.arange(len(table))
    patient = np.where(rows < PATIENTS * EACH, rows // EACH, PATIENTS + rows % 3)
    true = patient % 3
    given = np.where(np.isin(patient, WRONG), (true + 1) % 3, true)
    table = table.assign(
        label=np.array(["a", "b", "c"])[given],
        split=np.where(patient < PATIENTS, "train", "val"),
        patient=patient,
        ward=[f"{one:03d}" if one % 2 else "" for one in patient],
        empty="",
    )
    table.sample(frac=1, random_state=1).sort_values("path").to_csv(labels, index=False)
    vectors = np.hstack([np.eye(3)[true] * 4, np.eye(PATIENTS + 3)[patient] * 5])
    vectors += random.normal(size=vectors.shape) * 0.7
    order = np.argsort(table["path"].to_numpy(str), kind="stable")
    np.save(labels.parent / "f.npy", vectors[order])
    return labels


def audited(data: Path, out: Path, **options):
    options = {"features": data.parent / "f.npy", "model": "frozen:features", "epochs": EPOCHS} | options
    return audit(str(data), out, quiet=True, **options)


def first(run, data: Path) -> float:
    """The share of wrong labels among as many of the most suspect."""
    scores = run.scores().sort_values("label_error", ascending=False).head(len(WRONG) * EACH)
    patient = pd.read_csv(data).set_index("path")["patient"].loc[scores["path"]]
    return float(patient.isin(WRONG).mean())


@pytest.fixture(scope="module")
def grouped(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("grouped") / "run"
    return audited(data, out, group_by="patient", seeds=2, folds=4)


def test_a_patient_whose_labels_are_all_wrong_is_found_where_patients_are_left_out_whole(data, grouped, tmp_path):
    assert first(grouped, data) > 0.75
    assert first(audited(data, tmp_path / "loose"), data) < 0.65


def test_no_fold_has_a_part_of_a_patient_and_every_sample_is_recorded_once(data, grouped):
    folds, seeds = grouped.members("fold"), grouped.members("seed")
    assert [one.path.name for one in folds] == [f"fold=00{k}" for k in range(4)]
    assert [one.path.name for one in seeds] == ["seed=00001"]
    column = grouped.further().set_index("sample")["patient"]
    assert all(one.recorded("train") == list(range(1, EPOCHS + 1)) for one in (*folds, *seeds))
    parts = [one.part("train", EPOCHS)["sample"].to_numpy() for one in folds]
    patients = [set(column.loc[part]) for part in parts]
    assert sum(map(len, patients)) == PATIENTS == len(set.union(*patients))
    assert sorted(np.concatenate(parts)) == sorted(grouped.sample_ids("train"))
    val = np.concatenate([one.part("val", EPOCHS)["sample"].to_numpy() for one in folds])
    assert sorted(val) == sorted(grouped.samples().query("split == 'val'")["sample"])
    own, other = grouped.part("train", EPOCHS), seeds[0].part("train", EPOCHS)
    assert not np.array_equal(own["loss"], other["loss"])
    left_out = np.concatenate([one.part("train", EPOCHS)["loss"].to_numpy() for one in folds])
    assert left_out.mean() > 2 * own["loss"].to_numpy().mean()  # a head that saw the patient knows the labels by heart
    assert grouped.manifest["asked"]["group_by"] == grouped.manifest["dataset"]["choices"]["group_by"] == "patient"
    assert {"seeds": 2, "folds": 4}.items() <= grouped.manifest["asked"].items() and verify(grouped.path).whole
    assert grouped.scores()["head_curvature"].between(0, 100).all()


def test_folds_of_a_training_from_scratch_leave_patients_out_whole():
    random = np.random.default_rng(5)
    group = np.repeat(np.arange(40), 5)
    group[150:] = -1  # of no group
    split = np.where(random.random(200) < 0.2, "val", "train")
    labels, ones = random.integers(0, 4, 200), np.ones(3)
    inputs = Inputs(np.arange(200), labels, split, None, 28, ones, ones, 4, group=group)
    fold = fold_of(inputs, 5, 7)
    train = (split == "train") & (group >= 0)
    assert all(len(set(fold[train & (group == one)])) == 1 for one in set(group[train]))
    assert np.bincount(fold[split == "train"]).min() > 20 and set(fold[split == "val"]) == set(range(5))
    few = Inputs(np.arange(200), labels, split, None, 28, ones, ones, 4, group=np.arange(200) % 3)
    with pytest.raises(LossprintError, match="expected at least 5 groups of training samples for --folds 5, found 3"):
        fold_of(few, 5, 7)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_drawn_validation_split_has_whole_groups_and_a_shared_one_is_noted(data, tmp_path, ending):
    table = pd.read_csv(data, dtype=str, keep_default_na=False)
    if ending == "parquet":
        table["patient"] = table["patient"].astype(int)
    for name, split in (("drawn", None), ("shared", np.where(np.arange(len(table)) % 5, "train", "val"))):
        part = table.drop(columns="split") if split is None else table.assign(split=split)
        file = data.parent / f"{name}.{ending}"
        part.to_csv(file, index=False) if ending == "csv" else part.to_parquet(file)
        dataset = open_dataset(str(file), choices=Choices(group_by="patient"))
        patient = table["patient"].iloc[dataset.samples["sample"]].to_numpy()
        both = set(patient[dataset.samples["split"] == "train"]) & set(patient[dataset.samples["split"] == "val"])
        noted = [note for note in dataset.notes if "groups by patient are in train and in val" in note]
        assert (not both and not noted) if split is None else (both and noted)


def test_empty_cells_join_nobody(data, tmp_path):
    """Half of the patients have no ward: their images are dealt one by one."""
    run = audited(data, tmp_path / "run", group_by="ward", folds=3)
    column = run.further().set_index("sample")
    parts = [column.loc[one.part("train", EPOCHS)["sample"]] for one in run.members("fold")]
    wards = [set(part["ward"].dropna()) for part in parts]
    assert sum(map(len, wards)) == len(set.union(*wards)) == PATIENTS // 2
    bare = [set(part.loc[part["ward"].isna(), "patient"]) for part in parts]
    assert len(set.intersection(*bare)) > PATIENTS // 4


BAD = {
    "no such column": ({"group_by": "patent"}, "expected the column 'patent' of --group-by once in .*labels.csv"),
    "a known column": ({"group_by": "label"}, "expected a further column of .* as --group-by, found 'label'"),
    "nothing in it": ({"group_by": "empty"}, "expected values in the column 'empty'"),
    "too many folds": ({"group_by": "patient", "folds": 37}, "expected at least 37 groups .* --folds 37, found 36"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_grouped_is_refused(data, tmp_path, name):
    options, text = BAD[name]
    with pytest.raises(LossprintError, match=text):
        audited(data, tmp_path / "run", **options)
    if "folds" not in options:
        assert not (tmp_path / "run").exists()


def test_the_command_takes_a_column_and_keeps_it_on_resume(data, tmp_path, capsys):
    folders = tmp_path / "classes" / "a"
    folders.mkdir(parents=True)
    command = ["audit", str(tmp_path / "classes"), "--out", str(tmp_path / "no"), "--group-by", "patient", "--quiet"]
    assert cli.main(command) == 2 and "expected a manifest with --group-by, found" in capsys.readouterr().err
    command = ["audit", str(data), "--features", str(data.parent / "f.npy"), "--out", str(tmp_path / "run"), "--quiet"]
    assert cli.main([*command, "--group-by", "patient"]) == 0
    assert open_run(tmp_path / "run").manifest["asked"]["group_by"] == "patient"
    assert cli.main([*command, "--resume", "--group-by", "ward"]) == 2
    assert "expected --group-by patient" in capsys.readouterr().err
