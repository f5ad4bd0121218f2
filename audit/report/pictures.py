"""The pictures of a report, as data URIs and never more than the report can carry; of texts their beginnings."""

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from lossprint.audit.datasets import turns
from lossprint.audit.datasets.dataset import sample_reader
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError

TINY = 64  # px up to which an image is kept as it is, and enlarged with hard pixel edges
CARD, SMALL = 224, 72  # px, the longer side of a picture of its own, and of one in a table
BUDGET = 2_600_000  # bytes of data URIs after which pictures are made small, so that a report stays under 5 MB
WORKERS = 4


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, or the beginning of a text as its turns: (role, what was said)."""

    uri: str
    tiny: bool = False
    turns: tuple[tuple[str, str], ...] = ()


class Pictures:
    """The pictures of some samples of a run. `paths` maps their ids to the dataset's paths."""

    def __init__(self, run: Run, paths: dict[int, str], cards: list[int], small: list[int]):
        wanted = list(dict.fromkeys([*cards, *small]))
        try:
            reader = sample_reader(dataset_of(run)) if run.manifest["dataset"].get("source") else None
        except LossprintError:  # the dataset is not on this machine (any more), or nobody here named it
            reader = None
        big = set(cards)
        thin = set(small)
        made: list[tuple[Picture | None, Picture | None]] = [(None, None)] * len(wanted)
        if reader is not None:

            def make(sample: int) -> tuple[Picture | None, Picture | None]:
                found = _read(reader, paths.get(sample))
                if found is None:
                    return None, None
                little = picture(found, SMALL)
                return (picture(found, CARD) if sample in big else None), little

            with ThreadPoolExecutor(WORKERS) as pool:
                made = list(pool.map(make, wanted))
        self.cards: dict[int, Picture] = {}
        self.small: dict[int, Picture] = {}
        spent = sum(len(little.uri) for sample, (_, little) in zip(wanted, made) if little and sample in thin)
        for sample, (large, little) in zip(wanted, made):
            if sample in thin and little:
                self.small[sample] = little
            if large:
                spent += len(large.uri)
                self.cards[sample] = large if spent <= BUDGET else little

    @property
    def missing(self) -> bool:
        """Whether none of the images or texts could be read."""
        return not self.cards and not self.small


def _read(reader: Callable[[str], Image.Image | str], path: str | None) -> Image.Image | str | None:
    if path is None:
        return None
    try:
        return reader(path)
    except (LossprintError, OSError, ValueError, KeyError, IndexError):
        return None


def picture(found: Image.Image | str, size: int) -> Picture:
    """Tiny images as they are in PNG, larger ones shrunk to `size` in JPEG; of a text the beginning."""
    if isinstance(found, str):
        return Picture("", turns=tuple(turns.excerpt(found)) if size == CARD else (("", turns.line(found, 90)),))
    found = found.convert("RGB")
    tiny = max(found.size) <= TINY
    buffer = io.BytesIO()
    if tiny:
        found.save(buffer, "PNG", optimize=True)
    else:
        found.thumbnail((size, size), Image.Resampling.LANCZOS)  # of a copy: `convert` made one
        found.save(buffer, "JPEG", quality=80)
    kind = "png" if tiny else "jpeg"
    return Picture(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", tiny)
