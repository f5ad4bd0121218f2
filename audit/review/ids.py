"""Sample ids as a short text: what follows in steps of one as a range, `3-7.12`; their order is kept."""

import numpy as np


def write(ids) -> str:
    """The text of ids (N,), in their order."""
    ids = np.asarray(ids, np.int64)
    if not len(ids):
        return ""
    starts = np.flatnonzero(np.r_[True, np.diff(ids) != 1])
    ends = ids[np.r_[starts[1:] - 1, len(ids) - 1]]
    return ".".join(
        f"{one}" if one == last else f"{one}-{last}" for one, last in zip(ids[starts].tolist(), ends.tolist())
    )


def count(text: str) -> int:
    """How many ids a text of `write` stands for, without making them; ValueError for any other text."""
    sizes = [int(end or one) - int(one) + 1 for one, _, end in _spans(text)]
    if min(sizes, default=1) < 1:
        raise ValueError(f"a range of ids that ends before it begins: {text[:80]}")
    return sum(sizes)


def _spans(text: str) -> list[tuple[str, str, str]]:
    return [span.partition("-") for span in text.split(".")] if text else []


def read(text: str) -> np.ndarray:
    """The ids (N,) int64 of a text of `write`; ValueError for any other text."""
    if not text:
        return np.empty(0, np.int64)
    spans = _spans(text)
    first = np.array([int(one) for one, _, _ in spans], np.int64)
    last = np.array([int(end or one) for one, _, end in spans], np.int64)
    sizes = last - first + 1
    if (sizes < 1).any():
        raise ValueError(f"a range of ids that ends before it begins: {text[:80]}")
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(first, sizes) + within
