"""Losses that are not of one class a sample: several labels, a quantity, tokens. Recorded, scored, and refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from lossprint.audit import LossprintError, Recorder, open_run
from lossprint.audit.datasets import tasks
from lossprint.audit.recording import gpu_copies
from lossprint.audit.recording.per_sample import label_losses, of_task, squared_errors, token_losses
from lossprint.audit.workflow.score import score

NAMES = ["blue", "large", "round"]


def table(train: int, val: int, sets: np.ndarray | None = None, **columns) -> pd.DataFrame:
    n = train + val
    rows = {"sample": np.arange(n) * 2 + 1, "path": [f"{i}.x" for i in range(n)]}
    if sets is not None:
        rows["label"] = ["|".join(np.array(NAMES)[one]) for one in sets]
    return pd.DataFrame(rows | {"split": ["train"] * train + ["val"] * val} | columns)


def random_sets(n: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, len(NAMES))) < 0.5


def learning(sets: np.ndarray, checkpoint: int) -> torch.Tensor:
    """Logits (N, L) of a network that knows the true sets better and better, with some noise."""
    noise = np.random.default_rng(checkpoint).normal(size=sets.shape)
    return torch.from_numpy((2 * sets - 1) * checkpoint + 0.3 * noise)


# ----------------------------------------------------------------------------------------------- losses of a sample


def test_the_mean_over_counted_tokens_is_that_of_a_loop():
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 7, 11), torch.randint(0, 11, (5, 7))
    labels[0, :4] = labels[1, 2:] = -100
    labels[4] = -100
    for shift in (True, False):
        found = token_losses(logits.half() if shift else logits, labels, shift=shift)
        for row in range(5):
            counted = []
            for t in range(7):
                at = t - 1 if shift else t
                if at >= 0 and labels[row, t] != -100:
                    counted.append(F.cross_entropy(logits[row, at], labels[row, t]).item())
            expected = np.mean(counted) if counted else np.nan
            np.testing.assert_allclose(found[row], expected, rtol=2e-3 if shift else 1e-5)
    assert token_losses(logits[:0], labels[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"\(5, 7, 11\).*\(5, 6\)"):
        token_losses(logits, labels[:, 1:])


def test_losses_of_labels_and_quantities_are_those_of_a_loop():
    torch.manual_seed(0)
    logits, given = torch.randn(4, 3), torch.randint(0, 2, (4, 3))
    for b in range(4):
        for label in range(3):
            p = torch.sigmoid(logits[b, label])
            expected = -torch.log(p if given[b, label] else 1 - p)
            assert label_losses(logits, given)[b, label].item() == pytest.approx(expected.item(), rel=1e-5)
    targets = torch.randn(4, 3)
    expected = [sum((logits[b, d] - targets[b, d]) ** 2 for d in range(3)) / 3 for b in range(4)]
    assert torch.allclose(squared_errors(logits, targets), torch.stack(expected))
    column = squared_errors(logits[:, :1], targets[:, 0])  # no broadcasting to (4, 4)
    assert column.shape == (4,) and torch.allclose(column, (logits[:, 0] - targets[:, 0]) ** 2)
    with pytest.raises(ValueError, match="do not match"):
        squared_errors(logits, targets[:, 0])


@pytest.mark.parametrize(
    ("task", "outputs", "targets"),
    [
        ("classes", torch.randn(4, 3), torch.tensor([0, 1, 2, 0])),
        ("multi-label", torch.randn(4, 3), torch.ones(4, 3)),
        ("text", torch.randn(4, 5, 9), torch.ones(4, 5, dtype=torch.int64)),
        ("regression", torch.randn(4, 1), torch.randn(4)),
    ],
)
def test_what_a_task_hands_to_the_recorder(tmp_path, task, outputs, targets):
    rows = table(2, 2, random_sets(4), label=["a", "b", "c", "a"] if task == "classes" else "all")
    recorder = Recorder(tmp_path / "run", rows, task=task)
    recorder.update(rows["sample"], *of_task(task, outputs, targets))
    recorder.end_checkpoint(1)
    losses = np.concatenate([recorder.run.trajectory(split).losses[0] for split in ("train", "val")])
    whole = {
        "classes": lambda: F.cross_entropy(outputs, targets),
        "multi-label": lambda: F.binary_cross_entropy_with_logits(outputs, targets) * 3,
        "text": lambda: F.cross_entropy(outputs[:, :-1].flatten(0, 1), targets[:, 1:].flatten()),
        "regression": lambda: F.mse_loss(outputs[:, 0], targets),
    }[task]()
    assert losses.mean() == pytest.approx(whole.item(), rel=1e-5)
    assert recorder.finish().task == task


# ------------------------------------------------------------------------------------------------------ multi-label


def multi_label_run(folder, logits: bool = True, dtype=torch.float64):
    """600 training samples, of 30 of which one label is flipped; with their table, true and given sets."""
    truth = random_sets(700)
    given = truth.copy()
    wrong = np.random.default_rng(9).choice(600, 30, replace=False)
    which = np.random.default_rng(8).integers(0, 3, 30)
    given[wrong, which] ^= True
    rows = table(600, 100, given)
    recorder = Recorder(folder, rows, task="multi-label", label_names=NAMES)
    labels = torch.from_numpy(given).to(dtype)
    for checkpoint in (1, 2, 3):
        found = learning(truth, checkpoint)
        for at in torch.randperm(700).split(64):
            more = (found[at], labels[at]) if logits else ()
            recorder.update(rows["sample"].to_numpy()[at], label_losses(found[at], labels[at]), *more)
        recorder.end_checkpoint(checkpoint)
    recorder.finish()
    return score(folder), rows, truth, given, wrong, which


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8, torch.bool])
def test_flipped_labels_are_found_and_the_right_one_is_turned_back(tmp_path, dtype):
    run, _, truth, given, wrong, which = multi_label_run(tmp_path / "run", dtype=dtype)
    scores, each = run.scores(), run.label_scores()
    assert (np.sort(scores["sample"][scores["label_error"] > 0.5]) == np.sort(wrong) * 2 + 1).all()
    suspects = each[each["severity"] > 0.5]
    found = set(zip(suspects["sample"], suspects["name"]))
    assert found == {(2 * row + 1, NAMES[label]) for row, label in zip(wrong, which)}
    assert each.shape == (1800, 6) and each["given"].tolist() == given[:600].T.ravel().tolist()
    by_sample = scores.set_index("sample")
    for row in wrong:
        assert by_sample["suggested_label"][2 * row + 1] == "|".join(np.array(NAMES)[truth[row]])
        assert 0.5 < by_sample["suggested_probability"][2 * row + 1] <= 1
    rest = by_sample.drop(index=wrong * 2 + 1)
    assert rest["suggested_label"].isna().all() and rest["suggested_probability"].isna().all()
    assert scores["triage"].eq("").all() and scores["rank_confidence"].isna().all() and scores["cld"].notna().all()
    assert (run.findings()["kind"] == "label_error").sum() == 30


def test_the_losses_of_the_labels_add_up_and_scores_are_those_of_a_loop(tmp_path):
    run, *_ = multi_label_run(tmp_path / "run")
    members = [member.trajectory("train") for member in run.members("label")]
    whole = run.trajectory("train")
    np.testing.assert_allclose(sum(member.losses for member in members), whole.losses, rtol=1e-5)
    np.testing.assert_allclose(run.scores()["csl"], whole.losses.mean(axis=0), rtol=1e-6)
    mean = run.trajectory("val").losses.astype(np.float64).mean(axis=1)  # all samples are of one group
    expected = [np.corrcoef(np.diff(row), np.diff(mean))[0, 1] for row in whole.losses.T.astype(np.float64)]
    np.testing.assert_allclose(run.scores()["cld"], expected, atol=1e-6)
    for name, member in zip(NAMES, members):
        csl = run.label_scores().set_index("name").loc[name, "csl"]
        np.testing.assert_allclose(csl, member.losses.mean(axis=0), rtol=1e-6)


def test_labels_without_logits_are_ranked_by_their_losses(tmp_path):
    run, *_, wrong, _ = multi_label_run(tmp_path / "run", logits=False)
    scores = run.scores()
    assert (np.sort(scores["sample"][scores["label_error"] > 0.5]) == np.sort(wrong) * 2 + 1).all()
    assert scores["suggested_label"].notna().sum() == 30  # the table says what was given


def test_without_names_the_sum_alone_is_kept(tmp_path):
    sets = random_sets(20)
    rows = table(12, 8, sets)
    recorder = Recorder(tmp_path / "run", rows, task="multi-label")
    losses = label_losses(learning(sets, 1), torch.from_numpy(sets))
    recorder.update(rows["sample"], losses)
    recorder.end_checkpoint(1)
    recorder.finish()
    run = score(tmp_path / "run")
    assert run.members("label") == [] and run.label_scores() is None
    np.testing.assert_allclose(run.trajectory("val").losses[0], losses.sum(1)[12:], rtol=1e-6)


def test_what_was_given_comes_back_from_margins_and_predictions():
    """Also of a logit of exactly 0, of samples that the last checkpoint lacks, and of those never recorded."""
    given = np.array([[0, 1, 0, 1, 0, 1, 1]]).repeat(2, axis=0)
    logits = np.array([[2.0, 2, -2, -2, 0, 0, 1], [-1.0, -1, 3, 3, 0, 0, 1]])
    margins, predicted = tasks.sides(logits, given)
    np.testing.assert_array_equal(margins, logits * np.where(given == 1, 1, -1))
    margins[1, 1], predicted[1, 1] = np.nan, -1
    margins[:, 6], predicted[:, 6] = np.nan, -1
    there, known = tasks.given_sides(margins, predicted)
    assert there[:6].tolist() == given[0, :6].astype(bool).tolist() and known.tolist() == [True] * 6 + [False]


def test_sets_of_labels_whatever_their_order():
    sets = tasks.label_sets(["round|blue", "", "large"], NAMES)
    assert sets.tolist() == [[True, False, True], [False] * 3, [False, True, False]]
    assert tasks.label_sets(["round", "red"], NAMES) is None and tasks.label_sets(["all"], []) is None


# ------------------------------------------------------------------------------------------- quantities and texts


def test_wrong_targets_are_found_with_losses_of_any_sign(tmp_path):
    """Gaussian negative log-likelihoods: of samples that are well predicted they are below 0."""
    generator = np.random.default_rng(0)
    rows = table(500, 80, target=[f"{i}" for i in range(580)])
    wrong = generator.choice(500, 25, replace=False)
    recorder = Recorder(tmp_path / "run", rows, task="regression")
    for checkpoint in range(1, 6):
        error = generator.normal(size=580) * 0.1
        error[wrong] += 2
        variance = 0.5 / checkpoint**2
        losses = 0.5 * (np.log(variance) + error**2 / variance)
        recorder.update(rows["sample"], losses)
        recorder.end_checkpoint(checkpoint)
    recorder.finish()
    run = score(tmp_path / "run")
    scores = run.scores()
    assert run.trajectory("train").losses.min() < -1 and run.classes == ["all"]
    worst = scores.nlargest(25, "label_error")
    assert sorted(worst["sample"]) == (np.sort(wrong) * 2 + 1).tolist() and worst["label_error"].min() > 0.5
    assert (scores["label_error"] > 0.5).sum() < 50
    assert scores[["p_mean", "suggested_probability"]].isna().all(axis=None) and scores["cld"].notna().all()
    assert set(run.findings()["kind"]) == {"label_error"} and "target" in run.samples()


def test_labels_of_a_quantity_are_targets_not_classes(tmp_path):
    rows = table(3, 2, label=[0.5, 1.5, 2.5, 3.5, 4.5])
    run = Recorder(tmp_path / "run", rows, task="regression").run
    assert run.classes == ["all"] and run.samples()["target"].tolist() == ["0.5", "1.5", "2.5", "3.5", "4.5"]
    with pytest.raises(LossprintError, match="another or a changed one"):
        Recorder(tmp_path / "run", rows.assign(label=1.0), task="regression", resume=True)


def test_wrong_responses_rank_high_and_a_text_of_no_token_is_named(tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows = table(300, 40)
    wrong = np.random.default_rng(1).choice(300, 15, replace=False)
    tokens = torch.randint(0, 12, (340, 9), generator=generator)
    labels = tokens.clone()
    labels[:, :4] = -100  # the prompt
    recorder = Recorder(tmp_path / "run", rows, task="text")
    for checkpoint in range(1, 5):
        logits = torch.randn(340, 9, 12, generator=generator)
        truth = tokens.clone()
        truth[wrong, 5:] = (tokens[wrong, 5:] + 1) % 12
        logits[:, :-1] += checkpoint * F.one_hot(truth[:, 1:], 12)
        recorder.update(rows["sample"], token_losses(logits, labels))
        recorder.end_checkpoint(checkpoint)
    recorder.finish()
    run = score(tmp_path / "run")
    worst = run.scores().nlargest(15, "label_error")
    assert sorted(worst["sample"]) == (np.sort(wrong) * 2 + 1).tolist() and worst["label_error"].min() > 0.5
    np.testing.assert_array_equal(run.scores()["csl"].rank(), run.scores()["label_error"].rank())
    labels[5] = -100
    message = "found 1 others, such as nan of sample 11: a text of which no token counts has no mean$"
    with pytest.raises(LossprintError, match=message):
        Recorder(tmp_path / "other", rows, task="text").update(rows["sample"], token_losses(logits, labels))


@pytest.mark.parametrize("task", ["multi-label", "regression", "text"])
def test_samples_that_were_not_seen_are_left_empty(tmp_path, task):
    sets = random_sets(40)
    rows = table(30, 10, sets if task == "multi-label" else None)
    names = NAMES if task == "multi-label" else None
    recorder = Recorder(tmp_path / "run", rows, task=task, label_names=names)
    for checkpoint in (1, 2, 3):
        seen = np.arange(40) != (4 if checkpoint == 3 else 99)
        seen[7] = False
        logits, labels = learning(sets, checkpoint)[seen], torch.from_numpy(sets)[seen]
        losses = label_losses(logits, labels)
        if task == "multi-label":
            recorder.update(rows["sample"][seen], losses, logits, labels)
        else:
            recorder.update(rows["sample"][seen], losses.sum(1))
        recorder.end_checkpoint(checkpoint)
    with pytest.warns(UserWarning, match="2 samples were not recorded"):
        recorder.finish()
    run = score(tmp_path / "run")
    empty = run.scores()[["label_error", "csl", "cld"]].isna()
    assert empty.to_numpy().nonzero()[0].tolist() == [4] * 3 + [7] * 3
    if task == "multi-label":
        assert run.label_scores().query("severity.isna()")["sample"].tolist() == [9, 15] * 3


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("task", "call", "message"),
    [
        (
            "multi-label",
            lambda r, i: r.update(i, np.ones((2, 4))),
            r"shape \(samples, 3\), one a label, found \(2, 4\)",
        ),
        ("multi-label", lambda r, i: r.update(i, np.ones((3, 3))), r"shape \(2,\), found \(3,\)"),
        ("multi-label", lambda r, i: r.update(i, [[5, -4, 1], [1, 1, 1]]), "0 or more, found 1 others, such as -4"),
        ("multi-label", lambda r, i: r.update(i, np.ones((2, 3)), np.ones((2, 3))), "together, found only one"),
        ("multi-label", lambda r, i: r.update(i, np.ones((2, 3)), None, np.ones((2, 3))), "together, found only one"),
        ("multi-label", lambda r, i: r.update(i, np.ones((2, 3)), np.ones(2), np.ones(2)), r"logits of shape \(2, 3\)"),
        ("multi-label", lambda r, i: r.update(i, np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 2))), "0 or 1"),
        ("multi-label", lambda r, i: r.update(i, np.ones((2, 3)), np.ones((2, 3)), np.full((2, 3), 2)), "0 or 1"),
        (
            "multi-label",
            lambda r, i: r.update(i, np.ones((2, 3)), np.full((2, 3), np.nan), random_sets(2)),
            "finite logits",
        ),
        (
            "multi-label",
            lambda r, i: r.update(i, np.ones((2, 3)), np.ones((2, 3)), random_sets(2)[:, ::-1]),
            "own sets of the labels blue, large, round, in this order",
        ),
        ("regression", lambda r, i: r.update(i, np.ones((2, 1))), r"one loss a sample.*\(2, 1\)"),
        ("regression", lambda r, i: r.update(i, [-1, np.inf]), "expected finite losses, found 1 others, such as inf"),
        ("text", lambda r, i: r.update(i, [-1, 1]), "0 or more, found 1 others, such as -1"),
        ("text", lambda r, i: r.update(i, np.ones((2, 9))), r"one loss a sample"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, task, call, message):
    rows = table(4, 2, random_sets(6))
    names = NAMES if task == "multi-label" else None
    recorder = Recorder(tmp_path / "run", rows, task=task, label_names=names)
    with pytest.raises(LossprintError, match=message) as caught:
        call(recorder, rows["sample"][:2])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "ranking"}, "a task of classes, multi-label, regression, text, found 'ranking'"),
        ({"task": "text", "label_names": NAMES}, "only with task='multi-label'"),
        ({"task": "multi-label", "label_names": ["a|b", "c"]}, r"without '\|' in them"),
        ({"task": "multi-label", "label_names": ["a", "a"]}, "different labels"),
        ({"task": "multi-label", "label_names": ["a"]}, "two or more"),
    ],
)
def test_a_task_that_does_not_do_is_refused(tmp_path, options, message):
    with pytest.raises(LossprintError, match=message):
        Recorder(tmp_path / "run", table(4, 2, random_sets(6)), **options)
    assert not (tmp_path / "run").exists()


def test_another_task_or_other_labels_do_not_continue_a_run(tmp_path):
    rows = table(4, 2, random_sets(6))
    Recorder(tmp_path / "run", rows, task="multi-label", label_names=NAMES)
    for options, message in (
        ({"task": "text"}, "the task .* multi-label, found text"),
        ({"task": "multi-label"}, "the labels .* found None"),
        ({"task": "multi-label", "label_names": NAMES[::-1]}, "the labels"),
    ):
        with pytest.raises(LossprintError, match=message):
            Recorder(tmp_path / "run", rows, resume=True, **options)
    Recorder(tmp_path / "run", rows, task="multi-label", label_names=NAMES, resume=True)


def test_rewind_forgets_later_checkpoints_those_of_the_labels_too(tmp_path):
    run, rows, truth, given, *_ = multi_label_run(tmp_path / "run")
    recorder = Recorder(run.path, rows, task="multi-label", label_names=NAMES, resume=True)
    recorder.rewind(1)
    with pytest.raises(LossprintError, match="half written"):
        open_run(run.path)
    assert recorder.last == 1 and [one.recorded("train") for one in recorder.run.members("label")] == [[1]] * 3
    logits, labels = learning(truth, 2), torch.from_numpy(given)
    recorder.update(rows["sample"], label_losses(logits, labels), logits, labels)
    recorder.end_checkpoint(2)
    recorder.finish()
    assert score(run.path).label_scores() is not None


def test_batches_on_their_way_from_a_gpu_are_taken_in_order_and_all(tmp_path, monkeypatch):
    """No GPU here: the copies are plain ones, and an event says that they are there."""

    class Event:
        waited = 0

        def synchronize(self):
            Event.waited += 1

    monkeypatch.setattr(gpu_copies, "on_gpu", torch.is_tensor)
    monkeypatch.setattr(gpu_copies, "leave", lambda batch: (tuple(map(gpu_copies._copy, batch)), Event()))
    monkeypatch.setattr(gpu_copies, "_copy", lambda values: values.clone() if torch.is_tensor(values) else values)
    rows = table(20, 4)
    recorder = Recorder(tmp_path / "run", rows, task="regression")
    buffer = torch.zeros(2)
    for number in range(24):  # one buffer for all of them, as a caller may have it
        buffer[:] = torch.tensor([number, number + 100.0])
        recorder.update(rows["sample"][[number, (number + 1) % 24]].tolist(), buffer)
    assert Event.waited == 24 - gpu_copies.AHEAD
    recorder.update([1], np.array([7.0]))  # what is in the main memory waits for those before
    assert Event.waited == 24
    recorder.end_checkpoint(1)
    losses = recorder.run.trajectory("train").losses[0]
    assert losses.tolist() == [7, *range(1, 20)]  # of two batches with the same sample the later one counts
