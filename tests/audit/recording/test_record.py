"""The Recorder in a loop of one's own: what is written, and what is refused."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lossprint.audit import LossprintError, Recorder, open_run
from lossprint.audit.recording.batch import margins


def table(n=6):
    split = ["train"] * (n - 2) + ["val"] * 2
    return pd.DataFrame(
        {
            "sample": np.arange(n) * 10,
            "path": [f"{i}.png" for i in range(n)],
            "label": [["cat", "dog"][i % 2] for i in range(n)],
            "split": split,
        }
    )


def test_losses_come_back_by_id_whatever_their_order(tmp_path):
    recorder = Recorder(tmp_path / "run", table())
    for checkpoint in (1, 2, 3):
        recorder.update([30, 10], np.array([3.0, 1.0]) * checkpoint)
        recorder.update(["4.png", "0.png", "2.png", "5.png"], np.array([4.0, 0.0, 2.0, 5.0]) * checkpoint)
        recorder.end_checkpoint(checkpoint)
    run = recorder.finish()
    train, val = run.trajectory("train"), run.trajectory("val")
    assert train.samples.tolist() == [0, 10, 20, 30] and val.samples.tolist() == [40, 50]
    assert train.checkpoints.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(train.losses, np.outer([1, 2, 3], [0, 1, 2, 3]))
    np.testing.assert_array_equal(val.losses, np.outer([1, 2, 3], [4, 5]))
    assert train.labels.tolist() == [0, 1, 0, 1]
    assert train.margins is None and train.predicted is None


def test_logits_give_margins_and_predictions(tmp_path):
    recorder = Recorder(tmp_path / "run", table(4))
    logits = np.array([[2.0, 0.5], [3.0, 1.0], [0.0, 4.0], [1.0, 1.5]])  # given: cat dog cat dog
    recorder.update([0, 10, 20, 30], np.zeros(4), logits)
    recorder.end_checkpoint(1)
    train = recorder.finish().trajectory("train")
    np.testing.assert_allclose(train.margins, [[1.5, -2.0]])
    np.testing.assert_array_equal(train.predicted, [[0, 0]])


def test_margins_by_hand():
    margin, predicted = margins(np.array([[1.0, 5.0, 2.0], [7.0, 5.0, 2.0]]), np.array([2, 0]))
    np.testing.assert_allclose(margin, [-3, 2])
    np.testing.assert_array_equal(predicted, [1, 0])


def test_torch_tensors_and_padding_of_a_sampler(tmp_path):
    import torch

    recorder = Recorder(tmp_path / "run", table(4))
    losses = torch.tensor([0.5, 1.5, 2.5, 3.5, 0.5], requires_grad=True)
    recorder.update(torch.tensor([0, 10, 20, 30, 0]), losses)
    recorder.end_checkpoint(1)
    run = recorder.finish()
    assert run.part("train", 1).num_rows == 2
    np.testing.assert_array_equal(run.trajectory("train").losses, [[0.5, 1.5]])


def test_a_sample_not_recorded_is_nan(tmp_path):
    recorder = Recorder(tmp_path / "run", table(4))
    recorder.update([10, 20, 30], np.ones(3))
    recorder.end_checkpoint(1)
    with pytest.warns(UserWarning, match="1 samples were not recorded"):
        run = recorder.finish()
    np.testing.assert_array_equal(run.trajectory("train").losses, [[np.nan, 1]])


def test_resume_goes_on_after_the_last_whole_checkpoint(tmp_path):
    recorder = Recorder(tmp_path / "run", table(4))
    recorder.update([0, 10, 20, 30], np.ones(4))
    recorder.end_checkpoint(1)
    with pytest.raises(LossprintError, match="--resume"):
        Recorder(tmp_path / "run", table(4))
    again = Recorder(tmp_path / "run", table(4), resume=True)
    assert again.last == 1
    again.update([0, 10, 20, 30], np.full(4, 2.0))
    again.end_checkpoint(2)
    assert again.finish().recorded("train") == [1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.update([0, 10], np.ones(3)), r"one loss a sample, shape \(2,\), found \(3,\)"),
        (lambda r: r.update([0, 10], np.float32(1.0)), "reduction='none'"),
        (lambda r: r.update([0, 7], np.ones(2)), r"unknown ones such as \[7\]"),
        (lambda r: r.update([0, 999], np.ones(2)), r"unknown ones such as \[999\]"),
        (lambda r: r.update(["0.png", "none.png"], np.ones(2)), "none.png"),
        (lambda r: r.update([0, 10], np.ones(2), np.ones((2, 3))), r"logits of shape \(2, 2\)"),
        (lambda r: r.update([0, 10], np.ones(2), np.full((2, 2), np.nan)), "not finite"),
        (lambda r: r.update([0, 10], np.array([1.0, np.nan])), "found 1 others, such as nan of sample 10"),
        (lambda r: r.update([0, 10], np.array([-1.0, np.inf])), "found 2 others"),
        (lambda r: r.update([0, 10], np.ones(2), np.ones((2, 2)), np.array([1, 0])), r"Recorder\(classes"),
        (lambda r: r.update([0.7, 10.7], np.ones(2)), "whole-number ids"),
        (lambda r: r.update(np.array([True, False]), np.ones(2)), "whole-number ids"),
        (lambda r: r.update("0.png", np.ones(1)), "whole-number ids"),
        (lambda r: r.end_checkpoint(-1), "0 or more"),
        (lambda r: r.end_checkpoint(1.5), "0 or more"),
        (lambda r: r.end_checkpoint(1), "call update first"),
        (lambda r: r.finish(), "at least one recorded checkpoint"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, call, message):
    recorder = Recorder(tmp_path / "run", table())
    with pytest.raises(LossprintError, match=message) as caught:
        call(recorder)
    assert "\n" not in str(caught.value)


def test_another_dataset_or_kind_of_loss_is_not_mixed_in(tmp_path):
    recorder = Recorder(tmp_path / "run", table(4))
    recorder.update([0, 10, 20, 30], np.ones(4))
    recorder.end_checkpoint(1)
    with pytest.raises(LossprintError, match="never mix"):
        Recorder(tmp_path / "run", table(4), resume=True, recording="by-product")
    other = table(4).assign(label=["cat", "dog", "cat", "cow"])
    with pytest.raises(LossprintError, match="another or a changed one"):
        Recorder(tmp_path / "run", other, resume=True)


def test_a_run_in_the_making_is_not_shown_as_whole(tmp_path):
    Recorder(tmp_path / "run", table())
    with pytest.raises(LossprintError, match="half written"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("ids", [np.array, pd.Series, pd.Index, tuple, lambda paths: [Path(path) for path in paths]])
def test_paths_in_any_collection(tmp_path, ids):
    recorder = Recorder(tmp_path / "run", table(4))
    recorder.update(ids(["3.png", "0.png", "1.png", "2.png"]), np.array([3.0, 0.0, 1.0, 2.0]))
    recorder.end_checkpoint(1)
    np.testing.assert_array_equal(recorder.finish().trajectory("train").losses, [[0, 1]])


def test_paths_as_another_system_writes_them(tmp_path):
    names = [f"k\u00e4fer/{at}.png" for at in range(4)]
    recorder = Recorder(tmp_path / "run", table(4).assign(path=names))
    ways = [unicodedata.normalize("NFD", names[3]), f"/home/jo/{names[0]}", names[1].replace("/", "\\"), names[2]]
    recorder.update(ways, np.array([3.0, 0.0, 1.0, 2.0]))
    with pytest.raises(LossprintError, match="unknown ones such as"):
        recorder.update(["other/k\u00e4fer/9.png"], np.array([1.0]))
    recorder.end_checkpoint(1)
    np.testing.assert_array_equal(recorder.finish().trajectory("train").losses, [[0, 1]])


def test_another_order_of_classes_is_said_or_refused(tmp_path):
    """Ten is sorted before two by name; a loop that counts otherwise says so, or is told."""
    rows = table(6).assign(label=["2", "10", "2", "10", "2", "10"])
    logits = np.array([[3.0, 0.0], [0.0, 3.0]] * 3)  # of 2 and 10, in this order
    labels = np.array([0, 1] * 3)
    recorder = Recorder(tmp_path / "refused", rows)
    assert recorder.run.classes == ["10", "2"]
    with pytest.raises(LossprintError, match="classes 10, 2; found others"):
        recorder.update(rows["sample"], np.ones(6), logits, labels)
    recorder = Recorder(tmp_path / "run", rows, classes=["2", "10"])
    recorder.update(rows["sample"], np.ones(6), logits, labels)
    recorder.end_checkpoint(1)
    train = recorder.finish().trajectory("train")
    np.testing.assert_array_equal(train.margins, np.full((1, 4), 3.0))
    np.testing.assert_array_equal(train.predicted[0], train.labels)
    with pytest.raises(LossprintError, match="classes"):
        Recorder(tmp_path / "other", rows, classes=["2", "3"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": ["train"] * 6}, "train and val"),
        ({"split": ["train"] * 5 + ["holdout"]}, "holdout"),
        ({"sample": [0.5, 1, 2, 3, 4, 5]}, "whole numbers"),
        ({"label": ["a", None, "a", "b", "a", "b"]}, "empty"),
        ({"label": ["a"] * 6}, "at least two classes"),
        ({"path": ["a.png"] * 6}, "found some twice"),
    ],
)
def test_a_table_that_does_not_do_is_refused_at_once(tmp_path, change, message):
    with pytest.raises(LossprintError, match=message) as caught:
        Recorder(tmp_path / "run", table(6).assign(**change))
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_val_must_be_recorded_as_well(tmp_path):
    recorder = Recorder(tmp_path / "run", table(4))
    recorder.update([0, 10], np.ones(2))
    recorder.end_checkpoint(1)
    with pytest.raises(LossprintError, match="record the val split"):
        recorder.finish()


def test_a_checkpoint_is_not_overwritten_and_takes_back_what_was_scored(tmp_path):
    recorder = Recorder(tmp_path / "run", table(4))
    recorder.update([0, 10, 20, 30], np.ones(4))
    recorder.end_checkpoint(1)
    recorder.update([0, 10, 20, 30], np.ones(4))
    with pytest.raises(LossprintError, match="1 is recorded"):
        recorder.end_checkpoint(1)
    recorder.end_checkpoint(2)
    recorder.finish().finish("score").finish("find")
    again = Recorder(tmp_path / "run", table(4), resume=True)
    again.update([0, 10, 20, 30], np.ones(4))
    again.end_checkpoint(3)
    with pytest.raises(LossprintError, match="half written"):
        open_run(tmp_path / "run")
