"""Losses that do not come of the logits and the dataset's labels: said once, with what they look like."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from dataset_files import folder

from lossprint.audit import LossprintError, Recorder, open_run
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.findings.unjudged import sentences
from lossprint.audit.recording.agreement import disagreement, margins_disagreement
from lossprint.audit.recording.batch import margins
from lossprint.audit.workflow.import_losses import import_losses
from lossprint.audit.workflow.score import score


def table(n=120, classes=("a", "b", "c")):
    """n rows, every fourth of them for validation."""
    rows = np.arange(n)
    labels = [classes[row % len(classes)] for row in rows]
    split = np.where(rows % 4 == 0, "val", "train")
    return pd.DataFrame({"sample": rows, "path": [f"r{row}" for row in rows], "label": labels, "split": split})


def outputs(samples, epoch=2, classes=("a", "b", "c")):
    """Logits of a network that learns, and the labels."""
    labels = np.array([classes.index(label) for label in samples["label"]])
    logits = np.random.default_rng(epoch).normal(0, 1, (len(samples), len(classes)))
    logits[np.arange(len(samples)), labels] += epoch
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)


def entropy(logits, labels, **how):
    return F.cross_entropy(logits, labels, reduction="none", **how)


def focal(logits, labels):
    losses = entropy(logits, labels)
    return (1 - torch.exp(-losses)) ** 2 * losses


WRONG = {  # losses and logits that are handed over -> what is said
    "order": (entropy, lambda logits: logits[:, [2, 0, 1]], "classes in another order"),
    "softmax": (entropy, lambda logits: logits.softmax(dim=1), "after a softmax"),
    "focal": (focal, lambda logits: logits, "a focal loss with a gamma of about 2.0"),
    "smoothing": (
        lambda logits, labels: entropy(logits, labels, label_smoothing=0.2),
        lambda logits: logits,
        "label smoothing of about 0.20",
    ),
    "quarter": (lambda logits, labels: entropy(logits, labels) / 4, lambda logits: logits, "times 0.25"),
    "bits": (lambda logits, labels: entropy(logits, labels) / np.log(2), lambda logits: logits, "times 1.44"),
    "weights": (
        lambda logits, labels: entropy(logits, labels, weight=torch.tensor([1.0, 2.0, 5.0])),
        lambda logits: logits,
        "weights of the classes, 1 to 5 times",
    ),
    "other": (lambda logits, labels: (logits**2).sum(dim=1), lambda logits: logits, "another loss"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_looks_like_is_said(name):
    losses, handed, words = WRONG[name]
    logits, labels = outputs(table(240))
    said = disagreement(losses(logits, labels).numpy(), handed(logits).numpy(), labels.numpy())
    assert words in said


def test_a_few_that_are_far_off_are_said_and_rounding_is_not():
    """Ids that are shifted by one in data sorted by class: nearly all labels are those of the neighbour."""
    order = np.sort(table(240)["label"].to_numpy())
    logits, labels = outputs(pd.DataFrame({"label": order}), epoch=4)
    losses = entropy(logits, labels).numpy()
    said = disagreement(np.roll(losses, 5), np.roll(logits.numpy(), 5, axis=0), labels.numpy())
    assert said.startswith("6.2") and "of them far off" in said
    losses[::40] += 3
    assert disagreement(losses, logits.numpy(), labels.numpy()).startswith("2.5")
    losses[::40] -= 3
    halves = entropy(logits.half().float(), labels).half().float().numpy()
    assert disagreement(halves, logits.half().numpy(), labels.numpy()) is None


def test_class_numbers_in_natural_order(tmp_path):
    classes = tuple(map(str, range(12)))
    samples = table(360, classes)
    logits, labels = outputs(samples, classes=classes)
    recorder = Recorder(tmp_path / "run", samples)
    recorder.update(samples["sample"], entropy(logits, labels), logits)
    with pytest.warns(UserWarning, match="classes in another order"):
        recorder.end_checkpoint(1)


def test_ids_that_start_at_0_in_each_loader(tmp_path):
    samples = table()
    recorder = Recorder(tmp_path / "run", samples)
    logits, labels = outputs(samples)
    for split in ("train", "val"):
        rows = np.flatnonzero(samples["split"] == split)
        recorder.update(np.arange(len(rows)), entropy(logits, labels)[rows], logits[rows])
    with pytest.warns(UserWarning, match="ids of other samples"):
        recorder.end_checkpoint(1)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_what_belongs_together_is_silent_in_any_precision(tmp_path, precision):
    samples = table()
    recorder = Recorder(tmp_path / "run", samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch in (1, 4, 16):
            logits, labels = outputs(samples, epoch)
            logits = logits.to(precision)
            recorder.update(samples["sample"], entropy(logits, labels), logits.log_softmax(1) if epoch == 4 else logits)
            recorder.end_checkpoint(epoch)
        run = recorder.finish()
    assert "doubt" not in run.manifest["facts"]["record"]


def test_the_doubt_is_said_once_and_with_the_findings(tmp_path):
    samples = table()
    recorder = Recorder(tmp_path / "run", samples)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in (1, 2, 3):
            logits, labels = outputs(samples, epoch)
            recorder.update(samples["sample"], entropy(logits, labels) / 4, logits)
            recorder.end_checkpoint(epoch)
        recorder.finish()
    assert len([one for one in caught if "times 0.25" in str(one.message)]) == 1
    said = sentences(score(tmp_path / "run", quiet=True))
    assert said[0].startswith("Doubtful: expected losses that are the cross-entropy") and "times 0.25" in said[0]


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_imported_losses_are_held_against_their_margins_and_predictions(classes):
    names = tuple(f"{at:02d}" for at in range(classes))
    logits, labels = outputs(table(200, names), classes=names)
    losses, labels = entropy(logits, labels).numpy(), labels.numpy()
    margin, predicted = margins(logits.numpy(), labels)
    assert margins_disagreement(losses, margin, predicted, labels, classes) is None
    assert margins_disagreement(losses, margin * np.nan, predicted, labels, classes) is None
    scaled = margins_disagreement(losses / 4, margin, predicted, labels, classes)
    assert "that the margins do not allow" in scaled
    turned = margins_disagreement(losses, margin, (predicted + 1) % classes, labels, classes)
    assert "classes in another order" in turned


# ----------------------------------------------------------------------------------- incomplete and interrupted


def test_what_was_not_recorded_whole_is_counted_where_the_result_is_said(tmp_path, capsys):
    from lossprint.audit.cli import main as cli

    samples = table()
    recorder = Recorder(tmp_path / "run", samples, recording="by-product")
    train, val = recorder.ids("train"), recorder.ids("val")
    for epoch in (1, 2, 3):
        logits, labels = outputs(samples, epoch)
        for ids in (train[epoch * 20 - 20 :], val):  # 70, 50 and 30 of 90, the last 30 each time
            recorder.update(ids, entropy(logits, labels)[ids], logits[ids], labels[ids])
        recorder.end_checkpoint(epoch)
    with pytest.warns(UserWarning, match="40 samples were not recorded"):
        recorder.finish()
    assert cli.main(["score", str(tmp_path / "run"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "40 of 90 training samples could not be judged fully" in out
    assert "their losses were not recorded at every checkpoint" in out
    assert "Not looked for: duplicates and outliers" in out
    assert "nothing suspicious\n" not in out
    assert cli.main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "r.html")]) == 0
    assert "40 of 90 training samples could not be judged fully" in (tmp_path / "r.html").read_text()


def test_an_interrupted_recording_is_scored_as_far_as_it_got(tmp_path, capsys):
    from lossprint.audit.cli import main as cli

    samples, run = table(), tmp_path / "run"
    recorder = Recorder(run, samples)
    for epoch in (1, 2, 3):
        logits, labels = outputs(samples, epoch)
        recorder.update(samples["sample"], entropy(logits, labels), logits, labels)
        recorder.end_checkpoint(epoch)
    recorder._session._lock.close()  # as when the process dies
    cut = pd.DataFrame({"sample": recorder.ids("val")[:2], "loss": 1.0, "margin": 1.0, "predicted": 0})
    recorder.run.write_part("val", 4, cut)
    with pytest.raises(LossprintError, match=f"score what there is with: lossprint score {run} --partial"):
        score(run, quiet=True)
    assert cli.main(["score", str(run), "--partial", "--quiet"]) == 0
    assert "cut off: scored by its 3 whole checkpoints" in capsys.readouterr().out
    scored = open_run(run)
    assert scored.recorded("train") == scored.recorded("val") == [1, 2, 3] and len(scored.scores()) == 90
    again = Recorder(run, samples, resume=True)
    assert again.last == 3
    again.update(samples["sample"], entropy(logits, labels), logits, labels)
    again.end_checkpoint(4)
    again.finish()
    assert "partial" not in score(run, quiet=True).manifest["facts"]["record"]
    empty = Recorder(tmp_path / "empty", samples)
    empty._session._lock.close()
    with pytest.raises(LossprintError, match="expected a whole checkpoint"):
        score(tmp_path / "empty", quiet=True, partial=True)


def test_an_import_whose_margins_do_not_fit_is_warned_of(tmp_path):
    root = folder(tmp_path / "data", 20)
    dataset = open_dataset(root)
    arrays = {"checkpoints": np.arange(1, 5)}
    for split in ("train", "val"):
        rows = dataset.samples[dataset.samples["split"] == split]
        arrays[f"{split}_samples"] = rows["sample"].to_numpy()
        arrays[f"{split}_losses"] = np.full((len(rows), 4), 0.05)
        arrays[f"{split}_margins"] = np.full((len(rows), 4), -3.0)  # another class is ahead: a loss of 3 at least
    np.savez(tmp_path / "losses.npz", **arrays)
    with pytest.warns(UserWarning, match="that the margins do not allow"):
        run = import_losses(tmp_path / "losses.npz", str(root), tmp_path / "run", quiet=True)
    assert sentences(run)[0].startswith("Doubtful: expected losses") and "at checkpoint 1" in sentences(run)[0]
