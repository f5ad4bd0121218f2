"""Exact and near duplicates among the samples of a run, looked for once and kept as pairs.

Of n equal copies each is paired with the first, n - 1 pairs in all, and the first alone is compared with other images.
Near pairs are kept inside groups whose members resemble each other; a group that is too large to be believed is left
out and counted.
"""

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.images import SAME_ASPECT
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.findings.aside import write_aside
from lossprint.audit.runs.run import Run
from lossprint.audit.training.loading import grey, thumbs
from lossprint.scoring import duplicates
from lossprint.scoring.near import copies
from lossprint.scoring.near.describing import candidates, colours
from lossprint.scoring.near_texts import near_texts

CROWDED = 0.5  # of `copies.standing_out`, among pairs that lie on each other
# Candidates an image that are laid over it to compression's errors, and the cosine from which others are as well.
LISTED, CLOSE = 4, 0.97


def write_duplicates(run: Run, loaded: datasets.Loaded, vectors: np.ndarray | None) -> None:
    """Look for the duplicates of a run's dataset and keep those of its samples."""
    table, doubted = duplicate_pairs(loaded, vectors, run.manifest["asked"].get("near_similarity"))
    known = run.samples()["sample"]
    table = table[table["sample"].isin(known) & table["partner"].isin(known)]
    write_aside(run, loaded)
    run.write_duplicates(table.reset_index(drop=True), doubted)


def duplicate_pairs(
    loaded: datasets.Loaded, vectors: np.ndarray | None, alike: float | None = None
) -> tuple[pd.DataFrame, int]:
    """Exact pairs from the digests, near pairs from embedding (if any), spectrum and pixels; of texts from words.

    sample < partner, kind, similarity; and how many samples resemble too many others to be taken for copies. alike: how
    much near ones are, see `copies.confirmed`.
    """
    table, doubted = pairs_and_doubted(loaded, vectors, alike)
    return table, int(doubted.sum())


def pairs_and_doubted(
    loaded: datasets.Loaded, vectors: np.ndarray | None, alike: float | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """As `duplicate_pairs`, and which samples (N,) resemble too many others."""
    samples = loaded.dataset.samples
    ids, sequence = samples["sample"].to_numpy(np.int64), _sequences(samples)
    first, second = _equal(loaded.digests, sequence)
    exact = _pair_frame(ids[first], ids[second], "exact", np.ones(len(first)))
    # One of equal copies stands for all: of each sequence one, as those of one sequence are no pairs.
    ones = np.flatnonzero(~pd.DataFrame({"digest": loaded.digests, "sequence": sequence}).duplicated().to_numpy())
    pairs, doubted = _near(loaded, ones, vectors, alike)
    near = _pair_frame(ids[ones[pairs.first]], ids[ones[pairs.second]], "near", pairs.similarity)
    table = pd.concat([exact, near], ignore_index=True).sort_values(["sample", "partner", "kind"])
    if (sequence != "").any():  # neighbouring frames of a video are alike, and that is no fault
        one, other = (sequence[np.searchsorted(ids, table[name])] for name in ("sample", "partner"))
        table = table[(one != other) | (one == "")]
    # What is identical is near as well: keep the stronger word, which sorts first.
    table = table.drop_duplicates(["sample", "partner"]).reset_index(drop=True)
    return table, np.isin(loaded.digests, loaded.digests[ones[doubted]])


def _near(
    loaded: datasets.Loaded, ones: np.ndarray, vectors: np.ndarray | None, least: float | None
) -> tuple[duplicates.Pairs, np.ndarray]:
    """Near pairs among the rows `ones`, as positions in it, and those among them whose groups are doubted."""
    if loaded.dataset.media is TEXTS:
        read, paths = loaded.dataset.origin.read, loaded.dataset.samples["path"].iloc[ones].tolist()
        pairs = near_texts(map(read, paths), lambda at: read(paths[at]))
    else:
        pairs, alike = _near_images(loaded, ones, None if vectors is None else np.asarray(vectors)[ones], least)
    group = duplicates.linked(pairs, len(ones))
    if loaded.dataset.media is TEXTS:  # whose words are compared as they are
        alike = doubted = np.zeros(len(ones), bool)
    else:
        doubted = duplicates.doubted(group)
    kept = (group[pairs.first] >= 0) & (group[pairs.first] == group[pairs.second]) & ~doubted[pairs.first]
    pairs = pairs.only(kept)
    alike[np.concatenate([pairs.first, pairs.second])] = False
    return pairs, np.flatnonzero(doubted | alike)


def _near_images(
    loaded: datasets.Loaded, ones: np.ndarray, vectors: np.ndarray | None, least: float | None
) -> tuple[duplicates.Pairs, np.ndarray]:
    """Near pairs of images, and which images (N,) resemble too many others, by position in `ones`."""
    small = thumbs(loaded)
    small = small if len(ones) == len(small) else small[ones]
    width, height = loaded.sizes[ones].T
    stretched = np.flatnonzero(np.maximum(width, height) >= SAME_ASPECT * np.minimum(width, height))
    if len(stretched):
        small = small.copy()
        for row in stretched.tolist():
            small[row] = _stretched(small[row], width[row], height[row])
    greys = grey(small)
    looks = candidates(greys)
    likely = looks.pairs.only(looks.best(looks.still, LISTED) | (looks.still >= CLOSE))
    near = duplicates.near_pairs(vectors, greys, among=(likely.first, likely.second))
    listed = copies.standing_out(near, len(ones), CROWDED, copies.RIVAL - 1)
    alike = np.zeros(len(ones), bool)
    alike[np.concatenate([near.first[~listed], near.second[~listed]])] = True
    near = near.only(listed)
    changed = copies.changed_pairs(looks, len(ones))
    del looks, likely, greys
    keys = np.concatenate([pairs.first * len(ones) + pairs.second for pairs in (near, changed)])
    keys, at = np.unique(keys, return_index=True)
    similarity = np.concatenate([near.similarity, changed.similarity])[at]
    pairs = duplicates.Pairs(*np.divmod(keys, max(1, len(ones))), similarity)

    def pictures(rows: np.ndarray) -> np.ndarray:
        if loaded.pixels is None:
            return small[rows]
        seen = loaded.pixels[ones[rows]]
        side = min(copies.SIDE, seen.shape[1])
        if not len(rows):
            return seen[:, :side, :side]
        if side == seen.shape[1] and not np.isin(rows, stretched).any():
            return seen
        return np.stack([_stretched(one, width[row], height[row], side) for one, row in zip(seen, rows.tolist())])

    found, more = copies.confirmed(pairs, colours(small), pictures, at < len(near.first), least)
    return found, alike | more


def _stretched(image: np.ndarray, width: int, height: int, side: int | None = None) -> np.ndarray:
    """What `images.square` made of a picture (S, S, 3), without what it filled in, stretched to a square."""
    size, longer = len(image), max(width, height)
    inner = (size, size)
    if longer >= SAME_ASPECT * min(width, height):
        inner = (max(1, round(width * size / longer)), max(1, round(height * size / longer)))
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    box = (left, top, left + inner[0], top + inner[1])
    return np.asarray(Image.fromarray(image).resize((side or size,) * 2, Image.Resampling.BILINEAR, box=box))


def _equal(digests: np.ndarray, sequence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows first, second (P,) of equal digests, each with the first one; of its own sequence none is a partner.

    A row of the first one's sequence is paired with the first row of another sequence, where there is one.
    """
    firsts, seconds = [], []
    for group in duplicates.exact_pairs(digests):
        inside = (sequence[group] == sequence[group[0]]) & (sequence[group] != "")
        outside = group[1:][~inside[1:]]
        if not len(outside):
            continue
        firsts.append(np.full(len(outside), group[0]))
        seconds.append(outside)
        firsts.append(np.full(inside[1:].sum(), outside[0]))
        seconds.append(group[1:][inside[1:]])
    empty = [np.empty(0, np.int64)]
    return np.concatenate([*empty, *firsts]), np.concatenate([*empty, *seconds])


def _sequences(samples: pd.DataFrame) -> np.ndarray:
    """The name of each sample's sequence (N,), empty without one."""
    return samples["sequence"].astype(object).where(samples["sequence"].notna(), "").to_numpy()


def _pair_frame(first: np.ndarray, second: np.ndarray, kind: str, similarity: np.ndarray) -> pd.DataFrame:
    low, high = np.minimum(first, second), np.maximum(first, second)
    return pd.DataFrame({"sample": low, "partner": high, "kind": kind, "similarity": np.asarray(similarity, float)})
