"""Exact and near duplicates among the samples of a run, looked for once and kept as pairs.

Of n equal copies each is paired with the first, n - 1 pairs in all, and the first alone is compared with other images.
Near pairs are kept inside groups whose members resemble each other; a group that is too large to be believed is left
out and counted.
"""

import numpy as np
import pandas as pd

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.findings.aside import write_aside
from lossprint.audit.runs.run import Run
from lossprint.audit.training.loading import grey, thumbs
from lossprint.scoring import duplicates
from lossprint.scoring.near_texts import near_texts


def write_duplicates(run: Run, loaded: datasets.Loaded, vectors: np.ndarray | None) -> None:
    """Exact pairs from the digests, near pairs from embedding (if any), spectrum and pixels; of texts from words."""
    samples = loaded.dataset.samples
    ids, sequence = samples["sample"].to_numpy(np.int64), _sequences(samples)
    first, second = _equal(loaded.digests, sequence)
    exact = _pair_frame(ids[first], ids[second], "exact", np.ones(len(first)))
    # One of equal copies stands for all: of each sequence one, as those of one sequence are no pairs.
    ones = np.flatnonzero(~pd.DataFrame({"digest": loaded.digests, "sequence": sequence}).duplicated().to_numpy())
    pairs, doubted = _near(loaded, ones, vectors)
    near = _pair_frame(ids[ones[pairs.first]], ids[ones[pairs.second]], "near", pairs.similarity)
    table = pd.concat([exact, near], ignore_index=True).sort_values(["sample", "partner", "kind"])
    known = run.samples().set_index("sample")
    table = table[table["sample"].isin(known.index) & table["partner"].isin(known.index)]
    if (sequence != "").any():  # neighbouring frames of a video are alike, and that is no fault
        one, other = (sequence[np.searchsorted(ids, table[name])] for name in ("sample", "partner"))
        table = table[(one != other) | (one == "")]
    # What is identical is near as well: keep the stronger word, which sorts first.
    table = table.drop_duplicates(["sample", "partner"]).reset_index(drop=True)
    write_aside(run, loaded)
    run.write_duplicates(table, int(np.isin(loaded.digests, loaded.digests[ones[doubted]]).sum()))


def _near(loaded: datasets.Loaded, ones: np.ndarray, vectors: np.ndarray | None) -> tuple[duplicates.Pairs, np.ndarray]:
    """Near pairs among the rows `ones`, as positions in it, and those among them whose groups are doubted."""
    if loaded.dataset.media is TEXTS:
        read, paths = loaded.dataset.origin.read, loaded.dataset.samples["path"].iloc[ones].tolist()
        pairs = near_texts(map(read, paths), lambda at: read(paths[at]))
    else:
        vectors = None if vectors is None else np.asarray(vectors)[ones]
        pairs = duplicates.near_pairs(vectors, grey(thumbs(loaded))[ones])
    group = duplicates.linked(pairs, len(ones))
    if loaded.dataset.media is TEXTS:  # whose words are compared as they are
        doubted = np.zeros(len(ones), bool)
    else:
        doubted = duplicates.doubted(group)
    kept = (group[pairs.first] >= 0) & (group[pairs.first] == group[pairs.second]) & ~doubted[pairs.first]
    return pairs.only(kept), np.flatnonzero(doubted)


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
