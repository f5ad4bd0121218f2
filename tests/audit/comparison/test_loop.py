"""Before and after: planted label errors, equal budgets, cut off and resumed, intervals, and faults in one line."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import make_run

from lossprint.audit.cli import main as cli
from lossprint.audit.comparison import compare, summary
from lossprint.audit.comparison.cleaned import read_cleaned
from lossprint.audit.export import export
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.training import side_by_side, train
from lossprint.audit.types import LossprintError


@pytest.fixture(scope="module")
def flipped(tmp_path_factory):
    """A run of plain grey images, 45 % of whose training labels are wrong, and the right labels of those."""
    run = make_run(tmp_path_factory.mktemp("loop"), train=40, held_out=10, checkpoints=4)
    samples = run.samples()
    wrong = np.random.default_rng(1).choice(np.flatnonzero(samples["split"] == "train"), 54, replace=False)
    right = samples.loc[wrong, "label"].to_dict()
    for row, label in right.items():
        samples.loc[row, "label"] = run.classes[(run.classes.index(label) + 1) % 3]
    run.write_samples(samples, pd.DataFrame({"path": [], "reason": []}, dtype="string"))
    return run, right


def decided(flipped, place, exclude: int = 0, held_out: bool = False):
    """A copy of the run in which an expert puts the labels right and leaves some out; the exported CSV."""
    run, right = flipped
    run = open_run(shutil.copytree(run.path, place / "run"))
    rows = [
        {"finding": f"label_error:{i}", "sample": int(i), "decision": "exclude", "reviewer": "ann"}
        if at < exclude
        else {
            "finding": f"label_error:{i}",
            "sample": int(i),
            "decision": "relabel",
            "new_label": new,
            "reviewer": "ann",
        }
        for at, (i, new) in enumerate(sorted(right.items()))
    ]
    if held_out:
        one = int(run.samples().query("split == 'val'")["sample"].iloc[0])
        rows.append({"finding": f"audit:{one}", "sample": one, "decision": "exclude", "reviewer": "ann"})
    open_reviews(run).add_all(rows)
    export.write_cleaned(applied(run), place / "cleaned.csv")
    return run, place / "cleaned.csv"


def without_times(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["seconds"]).astype(dict.fromkeys(compare.TEXT, str))


def test_cleaned_labels_win_on_the_same_budget_and_a_cut_off_comparison_goes_on(flipped, tmp_path, monkeypatch):
    run, cleaned = decided(flipped, tmp_path, exclude=12, held_out=True)
    fit, budgets = train.fit, []

    def counted(inputs, rows, *, steps, bar, **more):
        before = bar.n
        network = fit(inputs, rows, steps=steps, bar=bar, **more)
        budgets.append((len(rows), steps, bar.n - before, more["recipe"].batch))
        return network

    def cut(*arguments, **more):
        if len(budgets) == 2:
            raise KeyboardInterrupt
        return counted(*arguments, **more)

    class Bar(side_by_side.Bar):  # a disabled one does not count
        def __init__(self, *_, disable, **more):
            super().__init__(disable=False, file=io.StringIO(), **{**more, "mininterval": 0})

    monkeypatch.setattr(side_by_side, "Bar", Bar)
    monkeypatch.setattr(train, "fit", cut)
    with pytest.raises(KeyboardInterrupt):
        compare.compare(run, cleaned, seeds=2, epochs=5, device="cpu", quiet=True)
    half = run.comparison()
    assert half[["arm", "seed"]].drop_duplicates().values.tolist() == [["given", 0], ["cleaned", 0]]
    assert summary.sentences(half) == []  # the third arm is not there yet
    monkeypatch.setattr(train, "fit", counted)
    table = compare.compare(run, cleaned, seeds=2, epochs=5, device="cpu", quiet=True)
    assert [size for size, *_ in budgets] == [120, 108, 108] * 2
    assert {tuple(rest) for _, *rest in budgets} == {(75, 75, 8)}
    assert set(table["steps"]) == {75} and table["relabelled"].iloc[0] == 42 and table["excluded"].iloc[0] == 12
    pd.testing.assert_frame_equal(without_times(table), without_times(run.comparison()))

    assert len(budgets) == 6
    whole = open_run(shutil.copytree(run.path, tmp_path / "whole", ignore=shutil.ignore_patterns("comparison.parquet")))
    again = compare.compare(whole, cleaned, seeds=1, epochs=5, device="cpu", quiet=True)
    first = table[table["seed"] == 0].assign(seeds=1)
    pd.testing.assert_frame_equal(without_times(first), without_times(again))
    compare.compare(run, cleaned, seeds=1, epochs=5, device="cpu", quiet=True)
    assert len(budgets) == 9, "trained again what was there"

    found = summary.summaries(table)
    assert [(one.split, one.labels, len(one.truth)) for one in found] == [
        ("val", "given", 30),
        ("val", "cleaned", 29),
        ("test", "given", 30),
    ]
    mean = found[0].accuracy.mean()
    assert mean["cleaned"] > mean["given"] + 0.03 and mean["cleaned"] > 0.9


def test_without_excluded_samples_nothing_is_thinned_and_given_is_the_run_itself(audited, tmp_path):
    run = open_run(shutil.copytree(audited, tmp_path / "run"))
    last = run.trajectory("val")
    reviews = open_reviews(run)
    reviews.add(
        finding="audit:1", sample=int(run.trajectory().samples[0]), decision="relabel", new_label="bag", reviewer="a"
    )
    if not len(export.changes(applied(run))):
        reviews.add(
            finding="audit:1",
            sample=int(run.trajectory().samples[0]),
            decision="relabel",
            new_label="dress",
            reviewer="a",
        )
    export.write_cleaned(applied(run), tmp_path / "cleaned.parquet")
    table = compare.compare(run, tmp_path / "cleaned.parquet", seeds=1, device="cpu", quiet=True)
    assert set(table["arm"]) == {"given", "cleaned"}
    given = table[(table["arm"] == "given") & (table["split"] == "val")].sort_values("sample")
    assert given["sample"].tolist() == last.samples.tolist()
    assert given["predicted"].tolist() == last.predicted[-1].tolist()
    assert "1 seed: one training each cannot tell" in summary.sentences(table)[0]


def test_an_exported_folder_says_the_same(flipped, tmp_path):
    run, cleaned = decided(flipped, tmp_path, exclude=3)
    export.write_cleaned(applied(run), tmp_path / "tree")
    export.write_cleaned(applied(run), tmp_path / "cleaned.parquet")
    one = read_cleaned(run, cleaned)
    assert one.changed("train") == (51, 3) and one.changed("val") == (0, 0)
    for other in ("tree", "tree/labels.csv", "cleaned.parquet"):
        np.testing.assert_array_equal(one.decided, read_cleaned(run, tmp_path / other).decided)


def test_thinning_keeps_the_shares_of_the_classes():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [600, 300, 100]))
    kept = compare.thin(labels, 500, 4)
    assert len(set(kept)) == 500 and (np.diff(kept) > 0).all()
    assert np.bincount(labels[kept]).tolist() == [300, 150, 0, 50]
    assert kept.tolist() == compare.thin(labels, 500, 4).tolist() != compare.thin(labels, 500, 5).tolist()
    assert compare.thin(labels, 1000, 0).tolist() == list(range(1000))


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    """Seeds and images drawn anew each time; the truth is the mean over all of both."""
    random, held, sims = np.random.default_rng(0), 0, 400
    for _ in range(sims):
        level = random.normal(1.0, 0.8, 200)  # how easy an image is
        bump = random.normal(0, 0.15, (3, 1))  # how well a seed did
        other = level + random.normal(0, 0.5, (3, 200)) > 0
        cleaned = level + bump + random.normal(0, 0.5, (3, 200)) > 0
        found = summary.gain(cleaned, other)
        held += found.low <= 0 <= found.high  # nearly 0: the bump is as often up as down
    assert held / sims >= 0.88


def test_gains_by_hand():
    right = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)
    same = summary.gain(right, right)
    assert same.mean == 0 and same.low < 0 < same.high and not same.sure  # equal by chance: still one image's worth
    assert summary.gain(right[:1], right[1:]) == summary.Gain(25.0, None, None, 1)
    better = summary.gain(np.ones((5, 400), bool), np.arange(400) % 2 == np.zeros((5, 1)))
    assert better.mean == pytest.approx(50) and better.sure and 44 < better.low < 47 and 53 < better.high < 56


def planted(**accuracy) -> pd.DataFrame:
    """A comparison of 200 validation images of two classes; accuracies of the seeds by arm."""
    frames = []
    for arm, shares in accuracy.items():
        for seed, share in enumerate(shares):
            given = np.arange(200) % 2
            predicted = np.where(np.arange(200) < round(200 * share), given, 1 - given)
            frame = {"arm": arm, "seed": seed, "sample": np.arange(200), "split": "val", "given": given}
            frames.append(pd.DataFrame({**frame, "decided": given, "predicted": predicted, "excluded": 5}))
    return pd.concat(frames, ignore_index=True)


def test_sentences_claim_no_more_than_the_interval():
    table = planted(given=[0.60, 0.61, 0.60], cleaned=[0.90, 0.91, 0.90], thinned=[0.60, 0.60, 0.60])
    assert summary.sentences(table) == [
        "Cleaned labels: 90.3 % (given 60.3 %, randomly thinned 60.0 %), +30.0 points, "
        "90 % interval 24.7 to 35.3, 3 seeds, 200 images."
    ]
    table = planted(given=[0.6, 0.6], cleaned=[0.9, 0.9], thinned=[0.9, 0.89])
    assert summary.sentences(table)[0].endswith("But leaving out as many at random did about as well.")
    table = planted(given=[0.60, 0.62, 0.61], cleaned=[0.61, 0.61, 0.62], thinned=[0.6, 0.6, 0.6])
    assert "The interval holds 0" in summary.sentences(table)[0]
    table = planted(given=[0.9, 0.9], cleaned=[0.5, 0.5], thinned=[0.9, 0.9])
    assert summary.sentences(table)[0].endswith("The cleaned labels trained a worse model.")
    classes = summary.by_class(summary.summary(table), ["<b>", "shirt"])
    assert classes["samples"].tolist() == [100, 100] and classes["change"].tolist() == pytest.approx([-40, -40])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.assign(path="x/" + t["path"]), "that it does not have, such as 'x/"),
        (lambda t: t.drop(columns="label"), "found no column label"),
        (lambda t: t.assign(label="wolf"), "found 'wolf'"),
        (lambda t: t.assign(split="val"), "in another"),
        (lambda t: pd.concat([t, t.head(1)]), "again"),
        (lambda t: t.assign(label=t["given_label"]), "expected changed training samples, found none"),
        (lambda t: t[t["split"] != "train"], "found all of them excluded"),
    ],
)
def test_faults_are_told_in_one_line(flipped, tmp_path, change, expected):
    run, cleaned = decided(flipped, tmp_path)
    change(pd.read_csv(cleaned, dtype=str, keep_default_na=False)).to_csv(cleaned, index=False)
    with pytest.raises(LossprintError) as raised:
        read_cleaned(run, cleaned)
    assert expected in str(raised.value) and "\n" not in str(raised.value)


def test_faults_of_the_run_are_told_before_any_training(flipped, tmp_path, capsys):
    run, cleaned = decided(flipped, tmp_path)
    with pytest.raises(LossprintError, match="found nothing at"):
        read_cleaned(run, tmp_path / "nowhere.csv")
    record = cleaned.with_name(f"{cleaned.name}.json")
    record.write_text(record.read_text().replace(run.manifest["dataset"]["fingerprint"], "0" * 64))
    with pytest.raises(LossprintError, match="found one of"):
        read_cleaned(run, cleaned)
    record.unlink()
    samples = run.samples()
    images = shutil.copytree(flipped[0].path.parent / "data", tmp_path / "data")
    (images / samples["path"][7]).unlink()
    source = run.manifest["dataset"] | {"source": str(images / "labels.csv"), "root": str(images)}
    gone = type(run)(run.path, {**run.manifest, "dataset": source})
    with pytest.raises(LossprintError, match="found 1 missing or unreadable"):
        compare.compare(gone, cleaned, device="cpu", quiet=True)
    run.write_samples(samples[samples["split"] != "val"], pd.DataFrame({"path": [], "reason": []}, dtype="string"))
    kept = pd.read_csv(cleaned, dtype=str, keep_default_na=False).query("split != 'val'")
    kept.to_csv(cleaned, index=False)
    with pytest.raises(LossprintError, match="expected a validation split"):
        read_cleaned(run, cleaned)
    for arguments, told in (
        (["audit", "--out", str(run.path)], "expected a DATASET, or --from CLEANED"),
        (["audit", "--from", str(cleaned), "--out", str(run.path), "--model", "small"], "expected no --model"),
        (["audit", "elsewhere", "--from", str(cleaned), "--out", str(run.path)], "elsewhere"),
    ):
        assert cli.main(arguments) == 2
        assert told in capsys.readouterr().err
