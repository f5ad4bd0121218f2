"""Images as a network of the user's own takes them: through the user's transform, or made square and normalised."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.system.processes import ALONE, World
from lossprint.audit.system.progress import Bar
from lossprint.audit.training.inputs import Inputs
from lossprint.audit.types import LossprintError, one_line

AHEAD = 2  # batches that are transformed while the network works on one
WORKERS = 4


@dataclass(frozen=True)
class Given(Inputs):
    """`Inputs` in batches of a chosen size, and of transformed images where there are any.

    `made` gives the inputs (B, ...) float32 of rows; without it they are the pixels, normalised.
    """

    batch: int | None = None
    made: "Made | None" = None

    def batches(self, rows: np.ndarray, device: str, batch: int | None = None, world: World = ALONE):
        batch = batch or self.batch
        if self.made is None:
            yield from super().batches(rows, device, batch, world)
            return
        batch = batch or 64
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        for at, images in self.made.batches(world.dealt(parts)):
            yield self.samples[at], images.to(device), torch.from_numpy(self.labels[at]).to(device)


class Made:
    """The transformed images of a dataset, in memory after `hold` where they fit, else made anew each time."""

    def __init__(self, dataset: datasets.Dataset, transform: Callable, name: str):
        self.paths = dataset.samples["path"].tolist()
        self.image, self.transform, self.name = dataset.image, transform, name
        self.shape: tuple[int, ...] | None = None  # of one input
        first = self.one(0)
        self.shape = tuple(first.shape)
        if not torch.equal(first, self.one(0)):
            raise LossprintError(
                f"expected a transform without chance, as for validation, from {name}, found that it makes two "
                f"different inputs of {self.paths[0]!r}"
            )
        self.held: torch.Tensor | None = None

    def one(self, row: int) -> torch.Tensor:
        """The input (...) float32 of an image."""
        image = self.image(self.paths[row])
        try:
            made = self.transform(image)
        except Exception as error:
            found = f"{type(error).__name__}: {one_line(error)}"
            raise LossprintError(
                f"expected the transform of {self.name} to take {self.paths[row]!r}, found {found}"
            ) from None
        if not isinstance(made, torch.Tensor) or not made.is_floating_point():
            found = made.dtype if isinstance(made, torch.Tensor) else type(made).__name__
            raise LossprintError(f"expected a tensor of floats from the transform of {self.name}, found {found}")
        if self.shape is not None and tuple(made.shape) != self.shape:
            raise LossprintError(
                f"expected inputs of one shape from the transform of {self.name}, found {tuple(made.shape)} for "
                f"{self.paths[row]!r} beside {self.shape} for {self.paths[0]!r}"
            )
        return made.float()

    def hold(self, quiet: bool) -> None:
        """Make all inputs once and keep them, if they take at most half of the free memory."""
        count = len(self.paths)
        size = 4 * int(np.prod(self.shape))
        if not datasets.fits_in_memory(-(-count * size // 3), 1):  # it counts three bytes a pixel
            return
        held = torch.empty(count, *self.shape)
        rows = np.arange(count)
        parts = [rows[start : start + 64] for start in range(0, count, 64)]
        with Bar(total=count, unit="img", desc="transform", disable=quiet or count < 20_000) as bar:
            for at, images in self.batches(parts):
                held[at[0] : at[-1] + 1] = images
                bar.update(len(at))
        self.held = held

    def batches(self, parts: list[np.ndarray]) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """(rows, inputs (B, ...)) of each of the batches of rows."""
        if self.held is not None:
            yield from ((at, self.held[torch.from_numpy(at)]) for at in parts)
            return
        with ThreadPoolExecutor(WORKERS) as pool:
            waiting: deque = deque()
            for at in parts:
                waiting.append((at, [pool.submit(self.one, int(row)) for row in at]))
                if len(waiting) > AHEAD:
                    yield _ready(*waiting.popleft())
            while waiting:
                yield _ready(*waiting.popleft())


def _ready(at: np.ndarray, inputs: list) -> tuple[np.ndarray, torch.Tensor]:
    return at, torch.stack([one.result() for one in inputs])
