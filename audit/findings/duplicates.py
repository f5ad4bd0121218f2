"""Exact and near duplicates among the samples of a run, looked for once and kept as pairs."""

import numpy as np
import pandas as pd

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.runs.run import Run
from lossprint.audit.training.loading import grey, thumbs
from lossprint.scoring import duplicates
from lossprint.scoring.near_texts import near_texts


def write_duplicates(run: Run, loaded: datasets.Loaded, vectors: np.ndarray | None) -> None:
    """Exact pairs from the digests, near pairs from embedding (if any), spectrum and pixels; of texts from words."""
    ids = loaded.dataset.samples["sample"].to_numpy(np.int64)
    frames = []
    for group in duplicates.exact_pairs(loaded.digests):
        first, second = np.triu_indices(len(group), 1)
        frames.append(_pair_frame(ids[group[first]], ids[group[second]], "exact", np.ones(len(first))))
    if loaded.dataset.media is TEXTS:
        read, paths = loaded.dataset.origin.read, loaded.dataset.samples["path"].tolist()
        near = near_texts(map(read, paths), lambda at: read(paths[at]))
    else:
        near = duplicates.near_pairs(vectors, grey(thumbs(loaded)))
    frames.append(_pair_frame(ids[near.first], ids[near.second], "near", near.similarity))
    pairs = pd.concat(frames, ignore_index=True).sort_values(["sample", "partner", "kind"])
    known = run.samples().set_index("sample")
    pairs = pairs[pairs["sample"].isin(known.index) & pairs["partner"].isin(known.index)]
    if "sequence" in known:  # neighbouring frames of a video are alike, and that is no fault
        first, second = (known["sequence"].reindex(pairs[name]).to_numpy(object) for name in ("sample", "partner"))
        same = np.array([isinstance(one, str) and one == other for one, other in zip(first, second)], bool)
        pairs = pairs[~same]
    # What is identical is near as well: keep the stronger word, which sorts first.
    run.write_duplicates(pairs.drop_duplicates(["sample", "partner"]).reset_index(drop=True))


def _pair_frame(first: np.ndarray, second: np.ndarray, kind: str, similarity: np.ndarray) -> pd.DataFrame:
    low, high = np.minimum(first, second), np.maximum(first, second)
    return pd.DataFrame({"sample": low, "partner": high, "kind": kind, "similarity": np.asarray(similarity, float)})
