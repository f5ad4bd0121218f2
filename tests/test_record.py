"""The Recorder in a loop of one's own: what is written, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from lossprint.audit import LossprintError, Recorder, open_run
from lossprint.audit.record import margins


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
    np.testing.assert_array_equal(recorder.finish().trajectory("train").losses, [[np.nan, 1]])


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
