"""Validation samples for a dataset that comes without any: drawn from its training samples, the same ones each time."""

from hashlib import blake2b

import pandas as pd

from lossprint.audit.datasets.tasks import ALL
from lossprint.audit.types import LossprintError


def draw(
    samples: pd.DataFrame,
    fraction: float,
    seed: int,
    name: str,
    task: str = "classes",
    groups: pd.Series | None = None,
) -> tuple[list[int], str]:
    """Rows of the training samples to validate on, ascending, and how many of what they are, in words.

    Video frames are drawn by whole sequences, images with a value in `groups` (N,) by whole groups, others a class at a
    time. Each path (or sequence) gets a
    pseudo-random rank of its own, so that images which come, go or cannot be read do not reshuffle the others.
    """
    what, members = ("sequences", "frames") if groups is None else ("groups", "images")
    if groups is not None:  # a sequence is in one of them
        samples = samples.assign(sequence=groups.fillna(samples["sequence"]))
    train = samples[samples["split"] == "train"]
    frames, plain = train[train["sequence"].notna()], train[train["sequence"].isna()]
    ranks = pd.Series([_chance(path, seed) for path in plain["path"]], index=plain.index)
    drawn, words = [], []
    # Sets of labels are often of one sample each.
    groups = plain["label"] if task != "multi-label" else pd.Series(ALL, index=plain.index)
    for _, rows in ranks.groupby(groups):
        count = min(max(int(len(rows) * fraction + 0.5), 1), len(rows) - 1)
        drawn += rows.sort_values(kind="stable").index[:count].tolist()
    if len(plain):
        words.append(f"{len(drawn):,} of {len(plain):,} training samples")
    if len(frames):
        names = sorted(frames["sequence"].unique(), key=lambda sequence: _chance(sequence, seed))
        if len(names) < 2 and not drawn:
            raise LossprintError(
                f"expected at least two {what} in train of {name}, to draw one for validation, found only {names[0]!r}"
            )
        chosen = _draw_sequences(frames, names, fraction)
        rows = frames.index[frames["sequence"].isin(chosen)].tolist()
        drawn += rows
        words.append(f"{len(chosen):,} of {len(names):,} training {what} ({len(rows):,} {members})")
    manner = "stratified, " if len(plain) else ""
    return sorted(drawn), f"drew {' and '.join(words)} for validation ({manner}seed {seed})"


def _draw_sequences(frames: pd.DataFrame, names: list[str], fraction: float) -> list[str]:
    """About `fraction` of the sequences, the first of `names`; one that alone has a class only where none is left."""
    labels_of = {name: set(labels) for name, labels in frames.groupby("sequence")["label"]}
    left = pd.Series([label for name in names for label in labels_of[name]]).value_counts().to_dict()
    count = min(max(int(len(names) * fraction + 0.5), 1), len(names) - 1)
    chosen: list[str] = []
    for name in names:
        if len(chosen) < count and all(left[label] > 1 for label in labels_of[name]):
            chosen.append(name)
            for label in labels_of[name]:
                left[label] -= 1
    return chosen + [name for name in names if name not in chosen][: count - len(chosen)]


def _chance(text: str, seed: int) -> bytes:
    return blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()
