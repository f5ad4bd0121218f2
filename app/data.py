"""What the pages read: runs, tables, trajectories, images or texts, and decisions. The only module with caches.

Caches are keyed by the run's path and the time its run.json was written, hold a bounded number of entries, and are
shared by all sessions: nothing that comes out of here is changed in place, filters make new frames.
"""

import base64
import io
import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import streamlit as st
from PIL import Image

from lossprint.app.access import roles
from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.datasets import turns
from lossprint.audit.datasets.dataset import sample_reader
from lossprint.audit.datasets.media import Media, media_of
from lossprint.audit.export.applied import applied
from lossprint.audit.recording import moved
from lossprint.audit.runs import places
from lossprint.audit.runs.open import list_runs as folders_of
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError, Trajectory
from lossprint.scoring.coresets.methods import METHODS
from lossprint.scoring.sequences import bounds_of

RUNS, DATASET = "LOSSPRINT_RUNS", "LOSSPRINT_DATASET"
TINY = 96
REPEATED = ("label", "split", "sequence", "suggested_label", "triage")
THUMB = 192


@dataclass(frozen=True)
class Listed:
    """A run folder as the picker shows it: `problem` says in one line why it cannot be opened, else None."""

    path: Path
    name: str
    problem: str | None


@dataclass(frozen=True)
class Loaded:
    """The tables of a whole run. `samples` and `scores` are indexed by sample; `stamp` is when run.json was written."""

    run: Run
    stamp: int
    samples: pd.DataFrame
    scores: pd.DataFrame
    findings: pd.DataFrame
    duplicates: pd.DataFrame
    unreadable: pd.DataFrame

    @property
    def key(self) -> tuple[str, int]:
        return str(self.run.path), self.stamp

    @property
    def classes(self) -> list[str]:
        return self.run.classes

    @property
    def media(self) -> Media:
        """What the samples are, images or texts, and what differs with that."""
        return media_of(self.run.manifest["dataset"])

    @property
    def noun(self) -> str:
        """What one sample is called: `image` or `text`."""
        return self.media.noun

    @property
    def labelled(self) -> bool:
        """Whether samples have labels: of a run without them all are of one group."""
        return len(self.classes) != 1

    def has(self, score: str) -> bool:
        """Whether any sample has this score; without, whatever is found by it was not looked for."""
        return score in self.scores and bool(self.scores[score].notna().any())

    def of_kind(self, *kinds: str) -> pd.DataFrame:
        """The findings of some kinds, most severe first."""
        found = self.findings[self.findings["kind"].isin(kinds)]
        return found.sort_values(["severity", "rank"], ascending=[False, True], kind="stable")


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, or a text as its turns: (role, what was said), role empty where there is none.

    `tiny` images are enlarged by the browser with hard pixel edges. The `width` of a text is its number of characters,
    of which `left` are not shown. A text holds no control characters; it is not to be read as markup.
    """

    uri: str | None
    width: int = 0
    height: int = 0
    tiny: bool = False
    turns: tuple[tuple[str, str], ...] = ()
    left: int = 0


@dataclass(frozen=True)
class Bands:
    """Per class, at each checkpoint: the mean and the 10 and 90 % quantiles of the loss, and the number of samples.

    `source` says whose: `validation`, or `training` for a run that recorded no validation losses.
    """

    checkpoints: np.ndarray
    mean: dict[str, np.ndarray]
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    count: dict[str, int]
    source: str


# ---------------------------------------------------------------------------------------------- runs


def runs_path() -> str | None:
    """Where the runs are: the environment, or what follows `--` on the command line."""
    return os.environ.get(RUNS) or (sys.argv[1] if len(sys.argv) > 1 else None)


def list_runs(path: str) -> list[Listed]:
    """The runs at a path, newest first, the ones that cannot be opened with the reason."""
    listed = []
    for folder in folders_of(path):
        problem = None
        try:
            open_run(folder)
        except LossprintError as error:
            problem = str(error)
        listed.append(Listed(folder, folder.name, problem))
    return listed


def load(path: Path) -> Loaded:
    """Open a run and read its tables, from the cache while its run.json has not changed."""
    try:
        stamp = (path / "run.json").stat().st_mtime_ns
    except OSError:
        raise LossprintError(f"expected a run folder (one with a run.json), found none in {path}") from None
    return _load(str(path), stamp)


@st.cache_resource(max_entries=4, show_spinner="Opening the run …")
def _load(path: str, stamp: int) -> Loaded:
    run = moved.opened_if(path, os.environ.get(DATASET))
    samples = _by_sample(_lean(run.samples(), REPEATED))
    scores = run.scores()
    scores = _by_sample(_lean(scores.drop(columns="path", errors="ignore"), REPEATED))
    pa.default_memory_pool().release_unused()
    more = (_lean(table) for table in (run.findings(), run.duplicates(), run.unreadable()))
    return Loaded(run, stamp, samples, scores, *more)


@dataclass(frozen=True)
class Videos:
    """The tables of frames and spans; `rows` says where in `frames` each sequence lies, in order of severity."""

    frames: pd.DataFrame
    spans: pd.DataFrame
    rows: dict[str, slice]


def videos(loaded: Loaded) -> Videos | None:
    """What was found in videos; None where nothing was looked at over time."""
    return _videos(*loaded.key)


@st.cache_resource(max_entries=4, show_spinner=False)
def _videos(path: str, stamp: int) -> Videos | None:
    run = open_run(path)
    frames = run.frames()
    if frames is None:
        return None
    spans = _lean(run.spans().astype({"middle": "float64"}))
    names = frames["sequence"].to_numpy(str)
    bounds = bounds_of(names)
    rows = {str(names[first]): slice(int(first), int(last)) for first, last in itertools.pairwise(bounds)}
    order = dict.fromkeys([*spans["sequence"], *rows])
    return Videos(_lean(frames), spans, {name: rows[name] for name in order})


def counts(labels: pd.Series) -> pd.Series:
    """How often each value occurs, most frequent first; values that do not occur are left out."""
    found = labels.value_counts()
    found = found[found > 0]
    found.index = found.index.astype(object)
    return found


def _by_sample(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.set_index("sample", drop=False).rename_axis(None)
    return frame if frame.index.is_monotonic_increasing else frame.sort_index()


def _lean(frame: pd.DataFrame, repeated: tuple[str, ...] = ()) -> pd.DataFrame:
    """Repeated texts as categories (a million labels are then a megabyte), the others as objects, None for missing."""
    for name in frame.columns:
        if name in repeated:
            frame[name] = frame[name].astype(object).astype("category")
        elif not pd.api.types.is_numeric_dtype(frame[name]):
            column = frame[name].astype(object)
            frame[name] = column.where(column.notna(), None)
    return frame


@st.cache_resource(max_entries=64, show_spinner=False)
def _derived(path: str, stamp: int, _function: Callable, name: str, arguments: tuple) -> object:
    return _function(_load(path, stamp), *arguments)


def derived(loaded: Loaded, function: Callable, *arguments):
    """`function(loaded, *arguments)`, worked out once a run and shared: not to be changed. Arguments are hashable."""
    return _derived(*loaded.key, function, f"{function.__module__}.{function.__qualname__}", arguments)


# ---------------------------------------------------------------------------------------------- trajectories


def trajectory(loaded: Loaded, split: str) -> Trajectory | None:
    """What was recorded of a split, of `train` the losses only; None where nothing was recorded."""
    found = _trajectory(*loaded.key, split)
    return found if len(found.checkpoints) and len(found.samples) else None


@st.cache_resource(max_entries=6, show_spinner="Reading the loss trajectories …")
def _trajectory(path: str, stamp: int, split: str) -> Trajectory:
    return open_run(path).trajectory(split, losses_only=split == "train")


def losses(loaded: Loaded, sample: int) -> pd.Series | None:
    """The loss print of one sample, indexed by checkpoint, or None where it was not recorded."""
    split = loaded.samples.at[sample, "split"]
    found = trajectory(loaded, split)
    if found is None:
        return None
    at = int(np.searchsorted(found.samples, sample))
    if at >= len(found.samples) or found.samples[at] != sample:
        return None
    series = pd.Series(found.losses[:, at].astype(float), index=found.checkpoints)
    return None if series.isna().all() else series


def bands(loaded: Loaded) -> Bands | None:
    """How the loss of each class goes on validation samples (training samples where there are none)."""
    return _bands(*loaded.key)


@st.cache_resource(max_entries=4, show_spinner=False)
def _bands(path: str, stamp: int) -> Bands | None:
    loaded = _load(path, stamp)
    for split, source in (("val", "validation"), ("train", "training")):
        found = trajectory(loaded, split)
        if found is None:
            continue
        mean, low, high, count = {}, {}, {}, {}
        order = np.argsort(found.labels, kind="stable")
        starts = np.searchsorted(found.labels[order], np.arange(len(loaded.classes) + 1))
        for index, name in enumerate(loaded.classes):
            rows = found.losses[:, order[starts[index] : starts[index + 1]]].astype(float)
            count[name] = rows.shape[1]
            if rows.shape[1] == 0 or np.isnan(rows).all(axis=1).any():
                continue
            gaps = np.isnan(rows).any()  # numpy looks for them a row at a time: slow with thousands of classes
            mean[name] = (np.nanmean if gaps else np.mean)(rows, axis=1)
            low[name], high[name] = (np.nanquantile if gaps else np.quantile)(rows, [0.1, 0.9], axis=1)
        return Bands(found.checkpoints, mean, low, high, count, source)
    return None


def learning(loaded: Loaded) -> pd.DataFrame:
    """Mean loss and accuracy of each split at each checkpoint: split, checkpoint, loss, accuracy (NaN if unknown)."""
    return _learning(*loaded.key)


@st.cache_resource(max_entries=4, show_spinner=False)
def _learning(path: str, stamp: int) -> pd.DataFrame:
    rows = []
    run = open_run(path)
    index = {label: i for i, label in enumerate(run.classes)}
    samples = _load(path, stamp).samples
    for split in ("train", "val"):
        mine = samples[samples["split"] == split]
        ids, labels = mine["sample"].to_numpy(), mine["label"].map(index).to_numpy(np.int32)
        for checkpoint in run.recorded(split):
            part = run.part(split, checkpoint)
            loss, predicted = part["loss"].to_numpy(), part["predicted"].to_numpy()
            known, seen = ~np.isnan(loss), predicted >= 0
            given = labels[np.searchsorted(ids, part["sample"].to_numpy()[seen])]
            accuracy = float((predicted[seen] == given).mean()) if seen.any() else np.nan
            rows.append((split, checkpoint, float(loss[known].mean()) if known.any() else np.nan, accuracy))
    return pd.DataFrame(rows, columns=["split", "checkpoint", "loss", "accuracy"])


# ---------------------------------------------------------------------------------------------- partners


def partners(loaded: Loaded, sample: int) -> pd.DataFrame:
    """The aligned and conflicting validation partners of a training sample, best first."""
    return _partners(*loaded.key, int(sample))


@lru_cache(2000)
def _partners(path: str, stamp: int, sample: int) -> pd.DataFrame:
    return open_run(path).pairs(sample).sort_values(["scope", "side", "rank"])


@st.cache_resource(max_entries=4, show_spinner=False)
def _reader(path: str, stamp: int) -> Callable[[str], Image.Image | str]:
    return sample_reader(places.dataset_of(_load(path, stamp).run))


def image(loaded: Loaded, sample: int) -> Image.Image | str | None:
    """The image of a sample in its own size, or its text, or None where it cannot be read any more."""
    return _open(*loaded.key, loaded.samples.at[int(sample), "path"])


def _open(path: str, stamp: int, name: str) -> Image.Image | str | None:
    try:
        found = _reader(path, stamp)(name)
        return found if isinstance(found, str) else found.convert("RGB")
    except (LossprintError, OSError, ValueError, KeyError, IndexError, SyntaxError, ImportError, pa.ArrowException):
        return None


def thumb(loaded: Loaded, sample: int, size: int = THUMB) -> Picture | None:
    """A picture of at most `size` pixels a side, or None where the image cannot be read any more.

    Of a text its beginning, for a card; the whole of it (up to `turns.WHOLE`) where `size` is that of a large image.
    """
    try:
        made = _thumb if size <= THUMB else _large
        return made(*loaded.key, loaded.samples.at[int(sample), "path"], size)
    except _Missing:
        return None


# Not st.cache_data: it keeps a lock for every key that it ever saw, so memory grows with each image shown.
@lru_cache(5000)
def _thumb(path: str, stamp: int, name: str, size: int) -> Picture:
    found = _open(path, stamp, name)
    if found is None:
        raise _Missing
    return picture(found, size)


@lru_cache(32)
def _large(path: str, stamp: int, name: str, size: int) -> Picture:
    return _thumb.__wrapped__(path, stamp, name, size)


class _Missing(Exception):
    """An image or a text cannot be read now. Raised, because what is raised is not cached: it may come back."""


def picture(found: Image.Image | str, size: int = THUMB) -> Picture:
    """Tiny images as they are in PNG, larger ones shrunk to `size` in JPEG; a text as its turns."""
    if isinstance(found, str):
        said, left = (turns.excerpt(found), 0) if size <= THUMB else turns.whole(found)
        return Picture(None, len(found), 1, turns=tuple(said), left=left)
    width, height = found.size
    tiny = max(width, height) <= TINY
    buffer = io.BytesIO()
    if tiny:
        found.save(buffer, "PNG", optimize=True)
    else:
        small = found.copy()
        small.thumbnail((size, size), Image.Resampling.LANCZOS)
        small.save(buffer, "JPEG", quality=85)
    kind = "png" if tiny else "jpeg"
    return Picture(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", width, height, tiny)


# ---------------------------------------------------------------------------------------------- decisions and exports


@dataclass(frozen=True, eq=False)
class Coreset:
    """A subset of the training split, best first: sample, path, label, score, rank.

    whole: how many training samples of each class there are to choose from, as decided; excluded, relabelled: by the
    experts. source: what it was chosen from, with the decisions that its record and its manifest tell of.
    """

    frame: pd.DataFrame
    whole: pd.Series
    excluded: int
    relabelled: int
    source: coresets.Source


def coreset(loaded: Loaded, ask: coresets.Ask) -> Coreset:
    """The subset asked for. The decisions as they stand now are a part of the caches' keys."""
    return _coreset(*loaded.key, _decided(loaded), ask, loaded)


@st.cache_resource(max_entries=16, show_spinner="Choosing …")
def _coreset(path: str, stamp: int, decided: tuple, ask: coresets.Ask, _loaded: Loaded) -> Coreset:
    source = _coreset_source(path, stamp, decided, coresets.needed(METHODS[ask.method]), _loaded)
    whole = counts(source.table["label"][~source.pool.excluded])
    return Coreset(coresets.choose(source, ask), whole, source.excluded, source.relabelled, source)


@st.cache_resource(max_entries=2, show_spinner="Reading what to choose from …")
def _coreset_source(path: str, stamp: int, decided: tuple, needs: str, _loaded: Loaded) -> coresets.Source:
    """What a method has to choose from; methods of the same needs share it."""
    methods = tuple(name for name, about in METHODS.items() if coresets.needed(about) == needs)
    return coresets.source_of(applied(_loaded.run, reviews(_loaded)), methods)


def _decided(loaded: Loaded) -> tuple:
    """What changes with every decision and every undo, both of which are rows of their own."""
    history = reviews(loaded).history()
    return (len(history), int(history["id"].iloc[-1]), str(history["at"].iloc[-1])) if len(history) else (0,)


@st.cache_resource(max_entries=16, show_spinner=False)
def _shared(path: str, url: str, what: str):
    from lossprint.audit.review import marks, reviews

    return (reviews.open_reviews if what == "reviews" else marks.open_marks)(open_run(path))


def reviews(loaded: Loaded):
    """The store of the run's decisions, guarded. Reads are never cached: another session may have decided."""
    return roles.Guarded(_shared(str(loaded.run.path), loaded.run.reviews_url, "reviews"))


def marks(loaded: Loaded):
    """The run's tags, queues and views, guarded, as they are now."""
    return roles.GuardedMarks(_shared(str(loaded.run.path), loaded.run.reviews_url, "marks"))
