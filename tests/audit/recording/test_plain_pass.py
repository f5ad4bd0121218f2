"""The look at a loader before a training: samples of every class are tried, in whatever order they lie."""

import numpy as np
import pytest
import torch

from lossprint.audit.recording.plain_pass import MOST, WithIds, plain_pass, spread
from lossprint.audit.types import LossprintError


class Random(torch.utils.data.Dataset):
    """Samples sorted by class, of which those of one class are changed at random, each with a chance."""

    def __init__(self, labels, changed, chance=1.0):
        self.labels, self.changed, self.chance = labels, changed, chance

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        noise = torch.randn(3) * (self.labels[row] == self.changed) * (torch.rand(1) < self.chance)
        return torch.full((3,), float(row)) + noise, self.labels[row]


@pytest.mark.parametrize("changed", [0, 1, 6])
@pytest.mark.parametrize("chance", [1.0, 0.5])
def test_a_loader_that_changes_one_class_at_random_is_refused(changed, chance):
    labels = sorted([*range(7)] * 20)
    one = plain_pass("train", Random(labels, changed, chance), range(len(labels)))
    with pytest.raises(LossprintError, match=r"found random ones .* as train=\.\.\.$"):
        one.refuse_random(labels)
    plain_pass("train", Random(labels, 9), range(len(labels))).refuse_random(labels)


def test_a_rare_class_is_tried_whole_and_named_ids_stay_named():
    labels = [0] * 500 + [1] * 3
    dataset = WithIds(Random(labels, 1), np.arange(503) + 7)
    with pytest.raises(LossprintError, match="found random ones"):
        plain_pass("val", dataset, None).refuse_random(labels)
    with pytest.raises(LossprintError, match="found random ones"):  # without classes all over the dataset
        plain_pass("val", Random([0] * 300 + [1] * 200, 1), range(500)).refuse_random()


def test_which_rows_are_tried():
    assert spread(5, None) == [0, 1, 2, 3, 4]
    rows = spread(10_000, [row // 1000 for row in range(10_000)])
    assert len(rows) == 80 and {row // 1000 for row in rows} == set(range(10)) and {0, 9_999} <= set(rows)
    many = spread(30_000, [row // 3 for row in range(30_000)])
    assert len(many) == MOST and many[0] == 0 and many[-1] == 29_999
    assert spread(0, None) == []
