"""A plain pass over a dataset beside a training: in order, nothing left out, nothing drawn at random, nothing changed.

What the callbacks for Lightning and Transformers share, and `WithIds` for loops of one's own. Needs torch.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from lossprint.audit.types import LossprintError

TRIED = 8  # samples of which a first look is taken, and of each class
MOST = 512  # samples that are read anew to see whether they are the same


class WithIds(Dataset):
    """A map-style dataset whose items are (id, item), so that a batch is (ids, batch) in whatever order they come.

    `ids` are the sample ids or paths of its items, such as `recorder.ids("train")` where the items are the training
    samples of the DATASET in their order.
    """

    def __init__(self, dataset, ids: Sequence):
        if len(ids) != len(dataset):
            raise LossprintError(f"expected an id for each of {len(dataset)} samples, found {len(ids)} ids")
        self.dataset, self.ids = dataset, np.asarray(ids)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple:
        one = self.ids[index]
        return one.item() if isinstance(one, np.generic) else one, self.dataset[index]


@dataclass(frozen=True)
class PlainPass:
    """All samples of one split in order, this process's share of them: `dataset[i]` is the sample `ids[i]`.

    dataset: map-style, or `WithIds`. collate: a list of items -> a batch. Of `world` processes, process `rank` takes
    every `world`-th sample.
    """

    split: str
    dataset: object
    ids: Sequence
    batch: int = 64
    collate: Callable = default_collate
    workers: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self):
        if isinstance(self.dataset, IterableDataset) or not hasattr(self.dataset, "__len__"):
            raise LossprintError(
                f"expected a dataset with a length and numbered items to read the {self.split} samples from, found "
                f"{type(self.dataset).__name__}: hand over another one ({self.split}=...), or record as a by-product"
            )
        if len(self.ids) != len(self.dataset):
            raise LossprintError(
                f"expected the {len(self.ids)} {self.split} samples of the DATASET, found {len(self.dataset)} in "
                f"{type(self.dataset).__name__}: name its samples by WithIds(dataset, ids)"
            )

    def batches(self) -> Iterator[tuple[Sequence, object]]:
        """(ids, batch) of each batch. The global random states are not touched."""
        mine = range(self.rank, len(self.dataset), self.world)
        loader = DataLoader(
            self.dataset if self.world == 1 else Subset(self.dataset, mine),
            batch_size=self.batch,
            collate_fn=self.collate,
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(0),
        )
        for start, batch in zip(itertools.count(0, self.batch), loader):
            yield self._named(mine[start : start + self.batch], batch)

    def first(self) -> tuple[Sequence, object]:
        """The first few samples as a batch, read here and not by workers."""
        return self._batch(range(self.rank, len(self.dataset), self.world)[:TRIED])

    def _batch(self, rows: Sequence[int]) -> tuple[Sequence, object]:
        return self._named(rows, self.collate([self.dataset[row] for row in rows]))

    def _named(self, rows: Sequence[int], batch) -> tuple[Sequence, object]:
        if isinstance(self.dataset, WithIds):
            ids, batch = batch
            return ids, batch
        return [self.ids[row] for row in rows], batch

    def refuse_random(self, labels: Sequence | None = None) -> None:
        """Raise LossprintError where two readings of the same samples differ: random augmentation, or masks.

        labels: those of the samples `ids`, to look at some of each class; without, samples from all over the dataset.
        """
        mine = range(self.rank, len(self.dataset), self.world)
        rows = spread(len(mine), None if labels is None else [labels[row] for row in mine])
        for start in range(0, len(rows), self.batch):
            readings = []
            for seed in (1, 2, 3):  # an augmentation by chance may leave one reading or two as they are
                seed_all(seed)
                readings.append(self._batch([mine[row] for row in rows[start : start + self.batch]])[1])
            if any(differ(readings[0], other) for other in readings[1:]):
                raise LossprintError(
                    f"expected {self.split} samples that are the same each time they are read, found random ones "
                    f"(augmented or masked): hand over a dataset without, as {self.split}=..."
                )


def spread(count: int, labels: Sequence | None) -> list[int]:
    """Rows to try of `count`: a few of each class where labels (count,) are known, ascending, from all over them.

    Of very many classes as many as come to MOST rows, evenly.
    """
    groups: dict = {}
    for row in range(count):
        groups.setdefault(None if labels is None else labels[row], []).append(row)
    each = TRIED if len(groups) > 1 else 4 * TRIED
    chosen = sorted({rows[at] for rows in groups.values() for at in _evenly(len(rows), each)})
    return [chosen[at] for at in _evenly(len(chosen), MOST)]


def _evenly(count: int, most: int) -> list[int]:
    """Up to `most` of `count` positions, ascending, the first and the last among them."""
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).astype(int).tolist()


def plain_pass(split: str, source, ids: Sequence, rank: int = 0, world: int = 1) -> PlainPass:
    """A pass over a dataset, or over that of a DataLoader with its batch size, collate function and workers.

    The loader's order, its last batch that is dropped, and its weights of samples do not count here.
    """
    if not isinstance(source, DataLoader):
        given = source.ids if isinstance(source, WithIds) else ids
        return PlainPass(split, source, given, rank=rank, world=world)
    dataset, batch = source.dataset, source.batch_size or getattr(source.batch_sampler, "batch_size", None) or 64
    given = dataset.ids if isinstance(dataset, WithIds) else ids
    return PlainPass(split, dataset, given, batch, source.collate_fn, source.num_workers, rank, world)


@contextmanager
def undisturbed(module: torch.nn.Module):
    """Eval mode without gradients inside; afterwards each submodule's mode and all random states are as before."""
    modes = [(one, one.training) for one in module.modules()]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    module.eval()
    try:
        with torch.no_grad():  # not inference_mode: what a network caches in it could not be trained with afterwards
            yield
    finally:
        for one, training in modes:
            one.training = training
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def differ(one, other) -> bool:
    """Whether two nested collections of tensors, arrays, numbers and text differ. What is none of these does not."""
    if torch.is_tensor(one) and torch.is_tensor(other):
        return one.shape != other.shape or (not torch.equal(one, other) and not _same(one, other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape != other.shape or bool((one != other).any())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() != other.keys() or any(differ(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) != len(other) or any(differ(*pair) for pair in zip(one, other))
    if isinstance(one, str | bytes | int) and isinstance(other, str | bytes | int):
        return one != other
    return False


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether all is equal that is not NaN in both."""
    return bool(((one == other) | ((one != one) & (other != other))).all())
