"""Exports say what was decided and why, give the same bytes twice, and leave the source dataset alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import at_home, digests, make_run, read_csv

from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.export import export
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.tables import FINDINGS
from lossprint.audit.system.csvfile import csv_text
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path):
    return at_home(shutil.copytree(made, tmp_path / "home"))


def decide(run):
    """Samples 0..11 have the labels bag, coat, shirt in turn. Returns the review ids by sample."""
    reviews = open_reviews(run)
    made = [
        reviews.add(
            finding="label_error:1",
            sample=1,
            decision="accept",
            new_label="shirt",
            reviewer="ann",
            comment="=cuff, see",
        ),
        reviews.add(finding="label_error:4", sample=4, decision="relabel", new_label="bag", reviewer="bob"),
        reviews.add(finding="duplicate:0", sample=3, decision="exclude", reviewer="ann", comment="twice"),
        reviews.add(finding="outlier:5", sample=5, decision="keep", reviewer="ann"),
        reviews.add(finding="outlier:6", sample=6, decision="unsure", reviewer="bob"),
        reviews.add(finding="outlier:7", sample=7, decision="exclude", reviewer="cay"),
        reviews.add(finding="outlier:31", sample=31, decision="exclude", reviewer="ann"),
        reviews.add(finding="outlier:8", sample=8, decision="relabel", new_label="shirt", reviewer="ann"),
    ]
    reviews.undo("cay")
    return {review.sample: review.id for review in made}


# ------------------------------------------------------------------------------------------------- findings, coreset


def test_findings_are_those_of_the_contract(run):
    frame = export.findings(run)
    assert list(frame) == list(FINDINGS) and len(frame) == 7
    assert frame.loc[frame["kind"] == "label_error", "sample"].tolist() == [4, 1]


def test_a_coreset_is_the_best_of_each_class_and_the_same_again(run):
    frame = coresets.coreset(run, "cld", per_class=3)
    assert list(frame) == ["sample", "path", "label", "score", "rank"]
    assert frame["rank"].tolist() == list(range(1, 10))
    scores = run.scores().set_index("sample")
    for label, part in frame.groupby("label"):
        best = scores[scores["label"] == label]["cld"].nlargest(3)
        assert set(part["sample"]) == set(best.index)
        np.testing.assert_array_equal(part["score"], scores.loc[part["sample"], "cld"])
        assert (part["path"].to_numpy() == scores.loc[part["sample"], "path"].to_numpy()).all()
    assert {1, 4}.isdisjoint(frame["sample"])  # the wrong labels have the lowest CLD
    assert csv_text(frame) == csv_text(coresets.coreset(run, "cld", per_class=3))
    one, two = (coresets.coreset(run, "random", fraction=0.5, seed=seed)["sample"].tolist() for seed in (0, 1))
    assert len(one) == len(two) == 15 and one != two


@pytest.mark.parametrize(
    ("method", "budget", "says"),
    [
        ("nonsense", {"fraction": 0.5}, "unknown coreset method 'nonsense'; there are recommended, random, cld,"),
        ("cld", {}, "give either fraction, number or per_class"),
        ("cld", {"fraction": 0.5, "per_class": 2}, "give either fraction, number or per_class"),
        ("cld", {"fraction": 0.0}, "fraction must be above 0"),
        ("cld", {"per_class": 0}, "per_class must be at least 1"),
        ("aum_easy", {"fraction": 0.5}, "needs the score 'aum', which was not computed"),
    ],
)
def test_an_impossible_coreset_is_one_line(run, method, budget, says):
    run.write_scores(run.scores().assign(aum=float("nan")))  # as in a run of losses imported without margins
    with pytest.raises(LossprintError) as error:
        coresets.coreset(run, method, **budget)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_half_written_run_is_not_exported(run, tmp_path):
    half = run.reopen("score")
    for act in (
        export.findings,
        applied,
        lambda run: coresets.coreset(run, "cld", fraction=0.5),
        lambda run: export.write_cleaned(applied(run), tmp_path / "x"),
    ):
        with pytest.raises(LossprintError, match="expected a whole run, found one half written"):
            act(half)
    assert not (tmp_path / "x").exists()


# ------------------------------------------------------------------------------------------------- decisions, applied


def test_cleaned_applies_each_decision_and_says_why(run):
    ids = decide(run)
    frame = export.cleaned(applied(run))
    assert list(frame) == [
        "path",
        "label",
        "split",
        "given_label",
        "change",
        "reason",
        "reviewer",
        "at",
        "comment",
        "review",
    ]
    samples = run.samples()
    assert frame["path"].tolist() == [path for i, path in enumerate(samples["path"]) if i not in (3, 31)]
    by = frame.set_index("path")
    paths = samples.set_index("sample")["path"]
    expected = {
        1: ("shirt", "coat", "relabelled", "coat -> shirt: accepted suggestion of label_error:1", "ann"),
        4: ("bag", "coat", "relabelled", "coat -> bag: relabelled in review of label_error:4", "bob"),
        5: ("shirt", "shirt", "", "given label confirmed in review of outlier:5", "ann"),
        6: ("bag", "bag", "", "left as given, unsure in review of outlier:6", "bob"),
        8: ("shirt", "shirt", "", "given label confirmed in review of outlier:8", "ann"),
    }
    for sample, says in expected.items():
        row = by.loc[paths[sample]]
        assert tuple(row[["label", "given_label", "change", "reason", "reviewer"]]) == says
        assert row["review"] == ids[sample]
    untouched = frame[~frame["path"].isin([paths[i] for i in expected])]
    assert (untouched["label"] == untouched["given_label"]).all() and (untouched["change"] == "").all()
    assert (
        untouched[["reason", "reviewer", "at", "comment", "review"]].isna().all().all()
    )  # sample 7 too: it was undone


def test_every_change_traces_to_one_review(run):
    ids = decide(run)
    frame = export.changes(applied(run))
    assert list(frame) == list(export.CHANGES)
    assert frame[["old", "new", "decision", "finding", "split"]].values.tolist() == [
        ["coat", "shirt", "accept", "label_error:1", "train"],
        ["bag", "", "exclude", "duplicate:0", "train"],
        ["coat", "bag", "relabel", "label_error:4", "train"],
        ["coat", "", "exclude", "outlier:31", "val"],
    ]
    assert frame["review"].tolist() == [ids[1], ids[3], ids[4], ids[31]]
    history = open_reviews(run).history().set_index("id")
    for row in frame.itertuples():
        assert tuple(history.loc[row.review, ["reviewer", "at", "comment", "decision"]]) == (
            row.reviewer,
            row.at,
            row.comment,
            row.decision,
        )
    assert frame["reason"].tolist()[1] == "excluded in review of duplicate:0"


def test_without_decisions_nothing_changes_and_no_database_is_made(run, tmp_path):
    frame = export.cleaned(applied(run))
    assert frame["label"].tolist() == run.samples()["label"].tolist() and export.changes(applied(run)).empty
    done = export.write_cleaned(applied(run), tmp_path / "c.csv")
    assert (done.kept, done.relabelled, done.excluded, done.unreadable) == (54, 0, 0, 0)
    assert not (run.path / "reviews.db").exists()


def test_frames_keep_their_sequence(tmp_path):
    run = make_run(tmp_path, frames=True, train=3, held_out=2)
    frame = export.cleaned(applied(run))
    assert list(frame)[:5] == ["path", "label", "split", "sequence", "frame"]
    assert frame["frame"].tolist()[:9] == list(range(9)) and frame["sequence"].iloc[0] == "train-1"
    export.write_cleaned(applied(run), tmp_path / "data" / "cleaned.csv")
    again = open_dataset(tmp_path / "data" / "cleaned.csv").samples
    assert again["frame"].tolist() == run.samples()["frame"].tolist()


def test_the_csv_is_a_manifest_with_its_changes_beside_it_and_the_same_bytes_twice(run):
    decide(run)
    root = Path(run.manifest["dataset"]["root"])
    before = digests(root)
    done = export.write_cleaned(applied(run), root / "cleaned.csv")
    assert done == export.Cleaned(root / "cleaned.csv", root / "cleaned.changes.csv", 52, 2, 2, 0)
    assert "52 samples written to" in str(done) and "2 relabelled, 2 excluded" in str(done)
    first = digests(root)
    assert {name: first[name] for name in before} == before
    assert sorted(set(first) - set(before)) == ["cleaned.changes.csv", "cleaned.csv", "cleaned.csv.json"]

    dataset = open_dataset(root / "cleaned.csv")
    kept = export.cleaned(applied(run))
    assert (
        dataset.samples[["path", "label", "split"]].values.tolist() == kept[["path", "label", "split"]].values.tolist()
    )
    changed = {row["path"]: row for row in read_csv(done.changes)}
    manifest = {row["path"]: row for row in read_csv(done.manifest)}
    given = dict(zip(run.samples()["path"], run.samples()["label"]))
    for path, label in given.items():
        if path in manifest and manifest[path]["label"] == label:
            assert path not in changed
        else:
            assert changed[path]["old"] == label and changed[path]["new"] == manifest.get(path, {"label": ""})["label"]
            assert changed[path]["reason"] and changed[path]["reviewer"] and changed[path]["review"]
    assert b'"=cuff, see"' in done.manifest.read_bytes()

    export.write_cleaned(applied(at_home(root.parent)), root / "cleaned.csv")
    assert digests(root) == first


def test_an_export_never_overwrites_what_the_dataset_has(run):
    root = Path(run.manifest["dataset"]["root"])
    (root / "other.csv").write_text("path,label\n")
    (root / "c.changes.csv").write_text("mine\n")
    before = digests(root)
    frame = export.findings(run)
    acts = {
        "expected another file than the dataset's own manifest": lambda: export.write_cleaned(
            applied(run), root / "labels.csv"
        ),
        "expected a new file or an earlier export": lambda: export.write_cleaned(applied(run), root / "other.csv"),
        "an earlier export in the dataset's folder, found .*c.changes.csv": lambda: export.write_cleaned(
            applied(run), root / "c.csv"
        ),
        "the dataset's own manifest": lambda: export.save(run, frame, root / "images" / ".." / "labels.csv"),
    }
    for says, act in acts.items():
        with pytest.raises(LossprintError, match=says):
            act()
    assert digests(root) == before
    export.save(run, frame, root / "findings.csv")
    assert export.save(run, frame, root / "findings.csv").read_text() == csv_text(frame)


def test_decisions_of_another_dataset_are_refused(run):
    open_reviews(run).add(finding="outlier:5", sample=5, decision="keep", reviewer="ann")

    class Foreign:
        def history(self):
            return open_reviews(run).history().assign(sample=999, id=7)

    with pytest.raises(
        LossprintError, match=r"expected decisions on the 54 samples of .*, found review 7 of sample 999"
    ):
        export.cleaned(applied(run, Foreign()))
