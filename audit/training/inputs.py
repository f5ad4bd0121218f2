"""All samples as a network sees them: batches of images on the device, plain or randomly shifted.

In memory the images are one uint8 array. Where it takes at most a third of a GPU's free memory it is held there, and a
batch is looked up and shifted on the device in one step; else it travels from pinned memory while the GPU works. Which
shifts are drawn depends on the generator alone, never on the device.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from lossprint.audit.system.processes import ALONE, World
from lossprint.audit.types import LossprintError

EVAL_BATCH = 64  # on a CPU a fifth faster than 256: the feature maps stay in the cache
GPU_PIXELS = 512 * 64 * 64  # of a batch on a GPU, which a small one leaves idle: 512 images of 64 px and less
SHARE = 1 / 3  # of a GPU's free memory that the images may take


@dataclass(frozen=True)
class Inputs:
    """All samples as the network sees them, rows ordered by sample id.

    pixels: (N, S, S, 3) uint8 in memory, or a `datasets.ImageStream` that decodes as it goes. labels (N,) int64 class
    indices, split (N,) str. mean and std (3,) normalise a channel of values in [0, 1], from the training split.
    """

    samples: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    pixels: object
    size: int
    mean: np.ndarray
    std: np.ndarray
    classes: int
    sequence: np.ndarray | None = None  # (N,) names of video sequences, empty for a plain image; None: no frames
    group: np.ndarray | None = None  # (N,) by the column of --group-by, -1 for an empty cell; None: nobody asked
    held: torch.Tensor | None = None  # `pixels` on a device, see `on`

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == split)

    def on(self, device: str, free: int | None = None) -> "Inputs":
        """The same with the pixels held on the device, if they are in memory and take at most `SHARE` of its free
        memory (`free` bytes; by default what a GPU says; a CPU holds them anyway)."""
        if not isinstance(self.pixels, np.ndarray) or self.held is not None:
            return self
        if free is None and torch.device(device).type == "cuda":
            free = torch.cuda.mem_get_info()[0]
        if free is not None and self.pixels.nbytes > free * SHARE:
            return self
        with warnings.catch_warnings():  # a file that is read as an array cannot be written to, and is not
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return replace(self, held=torch.from_numpy(self.pixels).to(device))

    def raw(
        self, parts: list[np.ndarray], device: str = "cpu", shifts: torch.Tensor | None = None, workers: int = 2
    ) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """The given batches of rows as (rows, uint8 (B, 3, S, S) on the device).

        shifts (2, all of the rows) move the images, see `moved`: those of one batch after those of the other.
        """
        shifts = None if shifts is None else shifts.to(device, non_blocking=True)
        done = 0
        for at, images, place in self._found(parts, device, workers):
            if shifts is not None:
                place = torch.arange(len(at), device=device) if place is None else place
                images = moved(images, place, shifts[:, done : done + len(at)])
            elif place is not None:
                images = images[place]
            done += len(at)
            yield at, images.permute(0, 3, 1, 2)

    def _found(self, parts: list[np.ndarray], device: str, workers: int):
        """Of each batch (rows, images (M, S, S, 3) uint8 on the device, places (B,) in them or None: as they are)."""
        pinned = torch.device(device).type == "cuda"
        if self.held is not None and parts:
            places = torch.from_numpy(np.concatenate(parts)).to(device).split([len(at) for at in parts])
            yield from ((at, self.held, place) for at, place in zip(parts, places, strict=True))
        elif isinstance(self.pixels, np.ndarray):
            for at in parts:
                images = torch.from_numpy(self.pixels[at])
                yield at, images.pin_memory().to(device, non_blocking=True) if pinned else images, None
        elif parts:
            batches = [part.tolist() for part in parts if len(part)]
            options = {"num_workers": workers, "pin_memory": pinned}
            try:
                loaded = iter(torch.utils.data.DataLoader(self.pixels, batch_sampler=batches, **options))
                for at in parts:
                    images = next(loaded)[1] if len(at) else torch.empty((0, 3, self.size, self.size)).byte()
                    yield at, images.to(device, non_blocking=True).permute(0, 2, 3, 1), None
            except LossprintError as error:  # a worker's error comes with the worker's whole traceback as its text
                last = str(error).strip().splitlines()[-1]
                raise LossprintError(last.rpartition("LossprintError: ")[2]) from None

    def normaliser(self, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """uint8 (B, 3, S, S) -> float32 on the device, channels last, each channel of zero mean and unit deviation."""
        scale = torch.tensor(1 / (255 * self.std), dtype=torch.float32, device=device).view(1, 3, 1, 1)
        offset = torch.tensor(-self.mean / self.std, dtype=torch.float32, device=device).view(1, 3, 1, 1)

        def normalised(images: torch.Tensor) -> torch.Tensor:
            images = images.to(device).float().mul_(scale).add_(offset)
            return images.contiguous(memory_format=torch.channels_last)

        return normalised

    def normalised(self, images: torch.Tensor, device: str) -> torch.Tensor:
        """What `normaliser` makes of one batch."""
        return self.normaliser(device)(images)

    def batches(self, rows: np.ndarray, device: str, batch: int | None = None, world: World = ALONE):
        """Batches of (sample ids, normalised inputs, labels), not augmented, for recording and curvature.

        Of several processes each gets every so-manieth batch: the batches, and so the bits of what is computed from
        them, are those of a single process.
        """
        batch, normalised = batch or eval_batch(device, self.size), self.normaliser(device)
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        for at, images in self.raw(world.dealt(parts), device):
            labels = torch.from_numpy(self.labels[at]).to(device, non_blocking=True)
            yield self.samples[at], normalised(images), labels


def counted(batches: Iterator, bar, processes: int = 1) -> Iterator:
    """The same batches, each told to the progress bar once it has been worked on, and with it those of the others."""
    for batch in batches:
        yield batch
        bar.update(min(len(batch[0]) * processes, bar.total - bar.n))


def eval_batch(device: str, size: int) -> int:
    """Images of `size` px in a batch that is only looked at."""
    return EVAL_BATCH if torch.device(device).type == "cpu" else min(max(GPU_PIXELS // size**2, EVAL_BATCH), 512)


def drawn_shifts(count: int, most: int, generator: torch.Generator) -> torch.Tensor:
    """Random shifts (2, count) int64 of up to `most` px either way, drawn on the CPU: the same for every device."""
    return torch.randint(0, 2 * most + 1, (2, count), generator=generator) - most


def moved(pixels: torch.Tensor, at: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """The images `at` (B,) of pixels (N, S, S, 3), each moved, its edge pixels repeated: (B, S, S, 3).

    shifts (2, B): the row and the column of the image that come first, negative: before its first. All on one device.
    """
    side = torch.arange(pixels.shape[1], device=pixels.device)
    rows, columns = (side + shifts[:, :, None]).clamp_(0, len(side) - 1)
    return pixels[at[:, None, None], rows[:, :, None], columns[:, None, :]]


def channel_statistics(pixels, rows: np.ndarray, most: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (3,) of the channels in [0, 1] over at most `most` evenly spaced training images."""
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    total, squares, count = np.zeros(3), np.zeros(3), 0
    for start in range(0, len(rows), EVAL_BATCH):
        at = rows[start : start + EVAL_BATCH]
        if isinstance(pixels, np.ndarray):
            values = pixels[at]
        else:
            values = np.stack([pixels[int(row)][1].permute(1, 2, 0).numpy() for row in at])
        values = values.reshape(-1, 3).astype(np.float64) / 255
        total += values.sum(0)
        squares += (values**2).sum(0)
        count += len(values)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 1e-4))
