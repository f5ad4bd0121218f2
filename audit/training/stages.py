"""What an audit's training and a recording from saved checkpoints have in common: decoding, curvature, duplicates.

Also what of a run that was begun may not be asked otherwise when it goes on.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.media import TEXTS
from lossprint.audit.runs import run as store
from lossprint.audit.types import LossprintError
from lossprint.scoring import duplicates
from lossprint.scoring.near_texts import near_texts

DRAWS = 1  # of curvature at each checkpoint, fresh at each: more checkpoints rank better than more draws
THUMB = 32  # px, side of the grey images that near duplicates are confirmed on


def begun(out: Path) -> LossprintError:
    """The fault that a run is there already."""
    return LossprintError(
        f"expected a new folder for the run, found a run at {out}: add --resume to continue it, or choose another --out"
    )


def refuse_changed(out: Path, before: dict, given: dict, options: dict[str, str] | None = None) -> None:
    """Raise LossprintError where what is asked now is not what the run was begun with; None asks for nothing.

    `options` has what an option is called where that is not its name in `asked`.
    """
    for name, value in given.items():
        if value is not None and value != before.get(name):
            option = (options or {}).get(name, f"--{name.replace('_', '-')}")
            raise LossprintError(
                f"expected {option} {before.get(name)}, with which {out} was begun, found {value}: resume with the "
                "same, or choose another --out"
            )


def decoded(dataset: datasets.Dataset, side: int, quiet: bool) -> datasets.Loaded:
    """The dataset without what cannot be read; its images at `side` pixels, if they fit into memory."""
    count = len(dataset.samples)
    fits = datasets.fits_in_memory(count, side)
    with tqdm(total=count, unit="img", desc="decode", disable=quiet or count < 20_000) as bar:
        return datasets.load(dataset, side if fits else None, progress=lambda done, _: bar.update(done - bar.n))


def spread(checkpoints: Sequence, count: int) -> list:
    """`count` of the checkpoints, all where there are fewer, evenly over the training, the last one among them."""
    total = len(checkpoints)
    count = min(count, total)
    return [checkpoints[at - 1] for at in sorted({round(total * (k + 1) / count) for k in range(count)})]


def curvature_at(checkpoint: int, network, batches: Iterable, seed: int, device: str) -> pd.DataFrame:
    """Curvature, Hessian trace and gradient norm of each sample as `Run.write_curvature` takes them.

    `network` has the checkpoint's weights; `seed` is the run's, the directions are others at each checkpoint.
    """
    from lossprint.scoring import curvature

    options = {"draws": DRAWS, "seed": seed * 1_000_003 + checkpoint, "device": device}
    measured = curvature.measure(network, batches, **options)
    names = ("curvature", "trace", "gradient_norm")
    return pd.DataFrame({"sample": measured.samples, **{name: getattr(measured, name) for name in names}})


def write_duplicates(run: store.Run, loaded: datasets.Loaded, vectors: np.ndarray | None) -> None:
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


def thumbs(loaded: datasets.Loaded) -> np.ndarray:
    """Images (N, S, S, 3) uint8 of at most `THUMB` px a side, small enough to compare pixel by pixel."""
    if loaded.pixels is None:
        return datasets.decode(loaded.dataset, THUMB)
    if loaded.pixels.shape[1] <= THUMB:
        return loaded.pixels
    from PIL import Image

    thumbs = np.empty((len(loaded.pixels), THUMB, THUMB, 3), np.uint8)
    for row, image in enumerate(loaded.pixels):
        thumbs[row] = Image.fromarray(image).resize((THUMB, THUMB), Image.Resampling.BOX)
    return thumbs


def grey(pixels: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8 -> (N, S, S) uint8, the luma of Rec. 601 in whole numbers."""
    red, green, blue = (pixels[..., channel].astype(np.uint16) for channel in range(3))
    return ((77 * red + 150 * green + 29 * blue) >> 8).astype(np.uint8)
