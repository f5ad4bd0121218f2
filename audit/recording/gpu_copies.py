"""Batches on their way from a GPU: copied while the training goes on, and read once they have surely arrived.

A plain `.cpu()` in each step would make the loop wait for the GPU each time. Needs torch only for tensors there.
"""

from collections import deque
from collections.abc import Iterator

import numpy as np

AHEAD = 8  # batches that may be on their way; bounds the memory that they hold


class Queue:
    """Batches, tuples of tensors and others, whose copies were started, oldest first."""

    def __init__(self):
        self._waiting: deque = deque()

    def put(self, batch: tuple) -> None:
        """Start the copies of a batch."""
        self._waiting.append(leave(batch))

    def arrived(self, left: int = 0) -> Iterator[tuple]:
        """All batches but the last `left`, each when its copies are there."""
        while len(self._waiting) > left:
            copies, event = self._waiting.popleft()
            event.synchronize()
            yield copies


def on_gpu(values) -> bool:
    """Whether these are a tensor in a CUDA device's memory."""
    return bool(getattr(values, "is_cuda", False))


def leave(values: tuple) -> tuple[tuple, object]:
    """Start the copies; the copies, and an event after which they may be read (`event.synchronize()`).

    What is in the main memory already is copied at once: the caller may use its own again for the next batch.
    """
    import torch

    device = next(one.device for one in values if on_gpu(one))
    copies = tuple(_copy(one) for one in values)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return copies, event


def _copy(values):
    if on_gpu(values):
        return values.detach().to("cpu", non_blocking=True)  # into pinned memory, which makes it asynchronous
    if hasattr(values, "detach"):
        return values.detach().clone()
    return np.array(values) if isinstance(values, np.ndarray) else values
