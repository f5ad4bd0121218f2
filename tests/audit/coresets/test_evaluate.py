"""Training on coresets: by hand, shared, cut off and gone on with, side by side, after decisions; faults in a line."""

import io
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from coreset_runs import at_home_on_disk, decide, lossprint
from helpers import make_run, one_line

from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets import evaluate
from lossprint.audit.coresets.coreset import Ask
from lossprint.audit.coresets.evaluate import SAME
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.training import loading, models, side_by_side, train
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.gradients import LastLayer

STEPS = 6
QUICK = {"steps": STEPS, "jobs": 1, "device": "cpu", "quiet": True}
TIMED = ["seconds"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"), train=12, held_out=5, checkpoints=3).path.parent


@pytest.fixture
def run(made, tmp_path):
    """36 training samples, ids 0 to 35, then 15 of val and 15 of test; bag, coat and shirt in turn."""
    return at_home_on_disk(shutil.copytree(made, tmp_path / "home"))


class Fits:
    """`train.fit`, counted: (rows, seed, steps) of each; raises instead of the training after `until`."""

    def __init__(self, monkeypatch, until: int = 10**9, error: type = KeyboardInterrupt):
        self.calls, self.fit, self.until, self.error = [], train.fit, until, error
        monkeypatch.setattr(train, "fit", self)

    def __call__(self, inputs, rows, **how):
        if len(self.calls) == self.until:
            raise self.error
        self.calls.append((rows.tolist(), how["seed"], how["steps"], how["recipe"].batch))
        return self.fit(inputs, rows, **how)


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Without what differs from one time to the next."""
    return table.drop(columns=TIMED).astype(dict.fromkeys(evaluate.TEXT, str)).reset_index(drop=True)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(plain(one), plain(other))


def accuracy(table: pd.DataFrame, method: str, fraction: float, seed: int, split: str = "val") -> float:
    mine = table[(table["method"] == method) & (table["fraction"] == fraction) & (table["seed"] == seed)]
    mine = mine[mine["split"] == split]
    return mine["right"].sum() / mine["of"].sum()


# ------------------------------------------------------------------------------------------------- by hand, shared


def test_accuracies_are_those_of_a_training_by_hand_and_the_same_samples_are_trained_on_once(run, monkeypatch):
    fits = Fits(monkeypatch)
    table = evaluate.evaluate(run, ["random", "cld"], [0.5, 1.0], seeds=2, **QUICK)
    assert [len(rows) for rows, *_ in fits.calls] == [18, 18, 18, 18, 36, 36]  # not 8: all samples are all samples
    assert {steps for _, _, steps, _ in fits.calls} == {STEPS} and len({batch for *_, batch in fits.calls}) == 1
    assert sorted(seed for _, seed, _, _ in fits.calls) == [0, 0, 0, 1, 1, 1]
    random = [rows for rows, *_ in fits.calls[:2]]
    assert random[0] != random[1], "chance has a seed"
    assert fits.calls[2][0] == fits.calls[3][0] == sorted(coresets.coreset(run, "cld", fraction=0.5)["sample"])

    assert len(table) == 2 * 2 * 2 * 2 * 3 and set(table["of"]) == {5}
    assert not table.duplicated([*SAME, "split", "label"]).any() and table["noisy"].isna().all()
    samples = run.samples()
    labels = samples["label"].map(run.classes.index).to_numpy(np.int64)
    asked = {**loading.DEFAULTS, "dataset": run.manifest["dataset"]["source"]}
    inputs = loading.inputs_again(samples, labels, samples["split"].to_numpy(str), run.classes, asked, True)
    rows = np.sort(coresets.coreset(run, "random", fraction=0.5, seed=1)["sample"].to_numpy())
    recipe = replace(train.Recipe(), epochs=3).for_size(36)
    how = {"model": "small", "recipe": recipe, "steps": STEPS, "seed": 1, "device": "cpu"}
    network = fits.fit(inputs, rows, bar=_Bar(), **how)
    for split in ("val", "test"):
        held_out = np.flatnonzero(samples["split"] == split)
        right = train.predict(network, inputs, held_out, "cpu") == labels[held_out]
        assert accuracy(table, "random", 0.5, 1, split) == right.mean()
        mine = table[(table["method"] == "random") & (table["fraction"] == 0.5) & (table["seed"] == 1)]
        by_class = mine[mine["split"] == split].set_index("label")["right"]
        assert by_class.to_dict() == {
            name: int(right[labels[held_out] == at].sum()) for at, name in enumerate(run.classes)
        }
    same(table, run.evaluation())
    shared = run.overlap().set_index(["fraction", "first", "second"])["shared"]
    chosen = [set(coresets.coreset(run, method, fraction=0.5)["sample"]) for method in ("random", "cld")]
    assert shared[0.5, "random", "cld"] == shared[0.5, "cld", "random"] == len(chosen[0] & chosen[1]) / 18
    assert shared[0.5, "cld", "cld"] == shared[1.0, "cld", "random"] == 1


class _Bar:
    def update(self, steps: int = 1) -> None:
        pass


def test_cut_off_it_goes_on_and_comes_to_the_same(run, monkeypatch, tmp_path):
    whole = open_run(shutil.copytree(run.path, tmp_path / "whole"))
    asked = (["random", "cld"], [0.25, 0.5])
    expected = evaluate.evaluate(whole, *asked, seeds=2, **QUICK)
    first = Fits(monkeypatch, until=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(run, *asked, seeds=2, **QUICK)
    half = run.evaluation()
    assert len(first.calls) == 1 and len(half) == 6 and set(half["method"]) == {"random"}
    assert list(evaluate.cells(half)["seeds"]) == [1, 1] and evaluate.text(half)
    monkeypatch.setattr(train, "fit", first.fit)
    rest = Fits(monkeypatch)
    same(evaluate.evaluate(run, *asked, seeds=2, **QUICK), expected)
    assert len(rest.calls) == 7
    same(evaluate.evaluate(run, *asked, seeds=2, **QUICK), expected)
    assert len(rest.calls) == 7, "trained again what was there"
    evaluate.evaluate(run, *asked, seeds=3, **QUICK)
    assert len(rest.calls) == 11  # the third seed of both at both fractions
    evaluate.evaluate(run, *asked, seeds=1, **(QUICK | {"steps": 3}))
    assert len(rest.calls) == 15 and set(run.evaluation()["steps"]) == {3, STEPS}


def test_what_others_evaluated_stays_also_where_they_write_at_the_same_time(run, monkeypatch):
    first = evaluate.evaluate(run, ["cld"], [0.5], seeds=1, **QUICK)
    fits = Fits(monkeypatch)
    began = []

    def meanwhile(inputs, rows, **how):
        if not began:  # another evaluation reads, trains and writes while this one trains
            began.append(True)
            evaluate.evaluate(run, ["csl_easy"], [0.5], seeds=1, **QUICK)
        return fits(inputs, rows, **how)

    monkeypatch.setattr(train, "fit", meanwhile)
    evaluate.evaluate(run, ["random"], [0.5], seeds=1, **QUICK)
    table = run.evaluation()
    assert set(table["method"]) == {"cld", "csl_easy", "random"} and len(fits.calls) == 2
    same(table[table["method"] == "cld"], first)
    assert set(run.overlap()["first"]) == {"cld", "csl_easy", "random"}


def test_options_are_told_apart_and_share_what_is_the_same(run, monkeypatch):
    fits = Fits(monkeypatch)
    evaluate.evaluate(run, ["random"], [0.5, 1.0], seeds=1, **QUICK)
    table = evaluate.evaluate(run, ["random"], [0.5, 1.0], seeds=1, one_of_duplicates=True, **QUICK)
    table = evaluate.evaluate(run, ["random"], [1.0], seeds=1, equal=True, **QUICK)
    assert [len(rows) for rows, *_ in fits.calls] == [18, 36, 18, 34]
    found = evaluate.cells(table).query("split == 'val'")
    assert found[["options", "fraction", "train_samples"]].values.tolist() == [
        ["", 0.5, 18],
        ["", 1.0, 36],
        ['{"equal": true}', 1.0, 36],
        ['{"one_of_duplicates": true}', 0.5, 18],
        ['{"one_of_duplicates": true}', 1.0, 34],
    ]


# ------------------------------------------------------------------------------------------------- decisions


def test_decisions_between_two_evaluations_count_and_earlier_results_are_kept_but_not_mixed(run, monkeypatch):
    fits = Fits(monkeypatch)
    before = evaluate.evaluate(run, ["random", "cld"], [0.5, 1.0], seeds=1, **QUICK)
    decide(run, 40, "exclude", finding="outlier:40")  # a validation sample
    decide(run, 52, "relabel", "bag", finding="outlier:52")  # a test sample, a coat
    decide(run, 1, "relabel", "shirt")
    decide(run, 2, "exclude", finding="outlier:2")
    fits.calls.clear()
    table = evaluate.evaluate(run, ["random"], [1.0], seeds=1, **QUICK)
    assert len(fits.calls) == 1 and fits.calls[0][0] == [at for at in range(36) if at != 2]
    now = table[~table["outdated"]]
    assert set(now["method"]) == {"random"} and set(now["fraction"]) == {1.0} and set(now["train_samples"]) == {35}
    of = now.set_index(["split", "label"])["of"]
    assert of["val"].to_dict() == {"bag": 5, "coat": 4, "shirt": 5}
    assert of["test"].to_dict() == {"bag": 6, "coat": 4, "shirt": 5}
    same(table[table["outdated"]].assign(outdated=False), before)
    assert len(evaluate.cells(table)) == 2 and evaluate.text(table).endswith("are not counted")
    assert "not counted" not in evaluate.text(now)
    for _ in range(4):
        open_reviews(run).undo("ann")
    fits.calls.clear()
    table = evaluate.evaluate(run, ["cld"], [0.5], seeds=1, **QUICK)
    assert not fits.calls, "the dataset is what it was"
    same(table[~table["outdated"]], before)


@pytest.mark.parametrize("sample", [1, 40, 52])  # of train, val and test
def test_a_new_label_alone_is_another_training(run, monkeypatch, sample):
    fits = Fits(monkeypatch)
    for times in (1, 2):
        table = evaluate.evaluate(run, ["random"], [1.0], seeds=1, **QUICK)
        assert len(fits.calls) == times and table["key"].nunique() == times
        decide(run, sample, "relabel", "shirt", finding=f"audit:{sample}")


def test_the_last_layer_takes_labels_as_decided(run):
    network = models.build_model("small", 3, 28)
    run.write_checkpoint(3, network.state_dict())
    ids = run.samples()["sample"].to_numpy()
    vectors = np.random.default_rng(0).normal(size=(len(ids), 128)).astype(np.float32)
    run.write_embeddings(ids, vectors)
    run = run.finish("record", size=28)

    def layer() -> LastLayer:
        return coresets.source_of(applied(run), methods=("glister",)).pool.layer

    found = layer()
    np.testing.assert_array_equal(found.weight, network.head.weight.detach().numpy())
    np.testing.assert_array_equal(found.vectors, vectors[:36])
    np.testing.assert_array_equal(found.val_vectors, vectors[36:51])
    assert found.labels.tolist() == [0, 1, 2] * 12 and found.val_labels.tolist() == [0, 1, 2] * 5
    decide(run, 1, "relabel", "shirt")
    decide(run, 36, "exclude", finding="outlier:36")
    decide(run, 37, "relabel", "bag", finding="outlier:37")
    found = layer()
    assert found.labels.tolist() == [0, 2, *[2, 0, 1] * 11, 2] and found.val_labels.tolist() == [0, 2, *[0, 1, 2] * 4]
    np.testing.assert_array_equal(found.val_vectors, vectors[37:51])
    for method in ("glister", "grad_match", "crust"):
        assert coresets.coreset(run, method, per_class=2)["label"].value_counts().tolist() == [2, 2, 2]
    assert coresets.source_of(applied(run), methods=("cld",)).pool.layer is None


# ------------------------------------------------------------------------------------------------- side by side


@pytest.fixture
def hears_ctrl_c():
    """A shell that starts the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.proof
@pytest.mark.usefixtures("hears_ctrl_c")
def test_in_processes_it_comes_to_the_same_and_survives_a_lost_one_and_a_stop(run, monkeypatch, tmp_path):
    """Real processes, begun three times: one is killed, Ctrl-C is pressed, and the third time all goes well."""
    options = QUICK | {"jobs": 2, "seeds": 2, "steps": 20}
    alone = open_run(shutil.copytree(run.path, tmp_path / "alone"))
    with monkeypatch.context() as patch:  # as many threads as each of two processes gets
        patch.setattr(side_by_side, "_in_processes", lambda plan, todo, jobs, threads, bar: _by_one(plan, todo, bar))
        expected = evaluate.evaluate(alone, ["random", "cld"], [0.5], **options)
    bars = []

    class Bar(side_by_side.Bar):
        def __init__(self, *arguments, **how):
            super().__init__(*arguments, **how | {"disable": False, "file": io.StringIO(), "mininterval": 0})
            bars.append(self)

        def set_postfix_str(self, text, *_):
            self.told = text
            if act := acts and acts.pop(0):
                act()

    monkeypatch.setattr(side_by_side, "Bar", Bar)
    others = set(multiprocessing.active_children())

    def kill() -> None:
        process = next(iter(set(multiprocessing.active_children()) - others))
        os.kill(process.pid, signal.SIGKILL)

    acts = [kill]
    told = one_line(evaluate.evaluate, run, ["random", "cld"], [0.5], **options)
    assert "found one of them gone" in told and set(multiprocessing.active_children()) == others
    done = run.evaluation()["key"].nunique()
    assert 1 <= done <= 3
    if done < 3:
        acts = [lambda: signal.raise_signal(signal.SIGINT)]
        with pytest.raises(KeyboardInterrupt):
            evaluate.evaluate(run, ["random", "cld"], [0.5], **options)
        assert set(multiprocessing.active_children()) == others and run.evaluation()["key"].nunique() > done
    acts = []
    table = evaluate.evaluate(run, ["random", "cld"], [0.5], **options)
    same(table, expected)
    evaluated = [bar for bar in bars if bar.desc == "evaluate"]
    assert evaluated[-1].n == evaluated[-1].total and evaluated[-1].told.endswith("trainings")
    assert set(multiprocessing.active_children()) == others
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _by_one(plan, todo, bar):
    for key, training in todo.items():
        yield key, side_by_side.one(plan, training, bar)


def test_the_bar_counts_all_steps(run, monkeypatch):
    written = io.StringIO()

    class Bar(side_by_side.Bar):
        def __init__(self, *arguments, **how):
            super().__init__(*arguments, **how | {"disable": False, "file": written, "mininterval": 0, "ncols": 100})

    monkeypatch.setattr(side_by_side, "Bar", Bar)
    evaluate.evaluate(run, ["random"], [0.5, 0.25], seeds=1, **QUICK)
    last = [line for line in written.getvalue().split("\r") if line.startswith("evaluate:")][-1]
    assert "12.0/12.0" in last and "1 of 2 trainings" in written.getvalue() and "<" in last


# ------------------------------------------------------------------------------------------------- wrong labels kept


def test_the_share_of_wrong_labels_kept(run, tmp_path):
    samples = run.samples()
    true = samples["label"].copy()
    true[[0, 1, 4]] = "shirt"
    truth = tmp_path / "truth.csv"
    samples.assign(true_label=true)[["path", "true_label"]][4:].to_csv(truth, index=False)  # of 0 to 3 nothing is known
    table = evaluate.evaluate(run, ["random", "cld"], [1.0, 0.5], seeds=1, truth=truth, **QUICK)
    found = evaluate.cells(table).query("split == 'val'").set_index(["method", "fraction"])["noisy"]
    assert found["random", 1.0] == found["cld", 1.0] == 1 / 32 and found["cld", 0.5] == 0
    assert "wrong labels among those kept, %: small, 6 steps" in evaluate.text(table)
    again = evaluate.evaluate(run, ["random", "cld"], [1.0, 0.5], seeds=1, **QUICK)
    same(again, table)  # asked again without the file, what was known stays known
    decide(run, 4, "relabel", "shirt")
    table = evaluate.evaluate(run, ["random"], [1.0], seeds=1, truth=truth, **QUICK)
    assert evaluate.cells(table)["noisy"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "found none at"),
        ("", "found an empty file"),
        ("path,label\na,b\n", "expected the columns path,true_label"),
        ("path,true_label\n", "expected training samples of the run"),
        ("path,true_label\nimages/elsewhere.png,bag\n", "such as 'images/train_000.png', found none"),
        ("path,true_label\nimages/train_000.png,3\n", "found only others, such as '3'"),
        ("path,true_label\nimages/train_000.png,bag\nimages/train_000.png,coat\n", "found another of"),
        ("path,true_label\nimages/train_000.png\n", "expected 2 cells in line 2"),
        (bytes(range(256)), "expected"),
    ],
)
def test_a_bad_truth_file_is_one_line(run, tmp_path, monkeypatch, content, told):
    fits, truth = Fits(monkeypatch, until=0), tmp_path / "truth.csv"
    if content is not None:
        truth.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told in one_line(evaluate.evaluate, run, ["random"], [0.5], truth=truth, **QUICK)
    assert not fits.calls and run.evaluation() is None


# ------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((["random", "cdl"], [0.5]), "expected methods that there are, found 'cdl', did you mean cld?"),
        ((["random", "grad_match"], [0.5]), "GRAD-MATCH needs the last layer"),
        ((["random"], [0.5, 0.001]), "not a single one"),
        ((["random"], [0.5, 1.5]), "fraction must be above 0"),
        (([], [0.5]), "expected methods, fractions and seeds"),
        ((["random"], []), "expected methods, fractions and seeds"),
        ((["random"], [0.5], {"seeds": 0}), "expected methods, fractions and seeds"),
        ((["random"], [0.5], {"model": "resnet1"}), "did you mean resnet18"),
        ((["random"], [0.5], {"at_least": 7}), "at least 7 of each class are 21 samples, more than the budget of 18"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_trained(run, monkeypatch, asked, told):
    fits = Fits(monkeypatch, until=0)
    options = asked[2] if len(asked) > 2 else {}
    assert told in one_line(evaluate.evaluate, run, *asked[:2], **QUICK | options)
    assert not fits.calls and run.evaluation() is None and run.overlap() is None


def test_what_a_run_has_not_is_one_line_before_anything_is_trained(run, monkeypatch):
    fits, samples = Fits(monkeypatch, until=0), run.samples()

    def told(run) -> str:
        return one_line(evaluate.evaluate, run, ["random"], [0.5], **QUICK)

    nowhere = Run(run.path, run.manifest | {"dataset": run.manifest["dataset"] | {"source": None}})
    assert "expected a run whose images are known" in told(nowhere)
    run.write_samples(samples[samples["split"] == "train"], run.unreadable())
    assert "expected validation or test samples to judge on" in told(run)
    run.write_samples(samples, run.unreadable())
    images = run.path.parent / "data" / "images"
    (images / "val_003.png").unlink()
    assert "found 1 missing or unreadable, such as 'images/val_003.png'" in told(run)
    shutil.rmtree(images)
    assert "expected images that can be read" in told(run)
    assert not fits.calls and run.evaluation() is None


def test_a_training_that_diverges_leaves_the_others(run, monkeypatch):
    Fits(monkeypatch, until=1, error=LossprintError("expected a finite training loss, found nan"))
    assert "finite" in one_line(evaluate.evaluate, run, ["random", "cld"], [0.5], seeds=1, **QUICK)
    assert len(run.evaluation()) == 6


def test_a_damaged_evaluation_is_one_line_and_stays(run, monkeypatch):
    file, fits = run.path / "evaluation.parquet", Fits(monkeypatch, until=0)
    file.write_bytes(b"PAR1 no more")
    assert "expected a readable evaluation.parquet" in one_line(evaluate.evaluate, run, ["random"], [0.5], **QUICK)
    assert file.read_bytes() == b"PAR1 no more" and not fits.calls


# ------------------------------------------------------------------------------------------------- command line


def test_the_command_line_evaluates_and_tells(run, monkeypatch, capsys):
    fits = Fits(monkeypatch)
    asked = ["coreset", "evaluate", run.path, "--methods", "random", "cld", "random", "--fractions", "0.5", "1", "0.5"]
    asked += ["--seeds", 1, "--steps", STEPS, "--jobs", 1, "--device", "cpu", "--quiet"]
    status, told, error = lossprint(capsys, *asked)
    assert status == 0 and not error and len(fits.calls) == 3
    lines = told.splitlines()
    assert lines[0] == f"accuracy on test, %: small, {STEPS} steps" and lines[1].split() == ["50", "%", "100", "%"]
    assert [line.split()[0] for line in lines[2:4]] == ["random", "cld"]
    assert lines[-1] == f"see it: lossprint app {run.path}, page Coreset"
    status, told, error = lossprint(capsys, *asked[:-1])
    assert status == 0 and len(fits.calls) == 3 and "choose:" in error
    for more, text in (
        (["--methods", "nonsense"], "expected methods that there are"),
        (["--fractions", "0"], "expected a number over 0 and up to 1, found '0'"),
        (["--seeds", "0"], "expected a whole number of 1 or more"),
        (["--model", "smal"], "did you mean small"),
        (["--truth", "nowhere.csv"], "found none at nowhere.csv"),
    ):
        status, _, error = lossprint(capsys, *asked, *more)
        assert status == 2 and text in error and error.count("\n") == 1


def test_all_methods_are_those_that_the_run_can_do_and_a_stop_is_told(run, monkeypatch, capsys):
    fits = Fits(monkeypatch, until=1)
    asked = ["coreset", "evaluate", run.path, "--methods", "all", "--fractions", "0.5", "--seeds", 1, "--quiet"]
    status, told, error = lossprint(capsys, *asked, "--steps", 2, "--jobs", 1, "--device", "cpu")
    assert status == 1 and not told and error == "lossprint: stopped; what is recorded is kept\n"
    assert len(fits.calls) == 1 and run.evaluation()["key"].nunique() == 1
    overlap = run.overlap()
    source = coresets.source_of(applied(run))
    able = {name for name in coresets.METHODS if not coresets.lacking(source, name)}
    assert set(overlap["first"]) == able and "grad_match" not in able and {"cld", "facility"} <= able
    assert len(coresets.choose(source, Ask("cld", fraction=0.5))) == 18
