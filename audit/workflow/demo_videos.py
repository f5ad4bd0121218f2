"""Made-up annotated videos: real pictures in drawn scenes, a grammar of phases, planted annotation errors.

Two pairs of phases look alike in every single frame and differ by motion and place in time only: `enter` and `leave`,
`clip` and `cut`. So a model of single frames cannot tell when their labels are exchanged. The truth is returned, never
written where an audit reads.
"""

import importlib.resources
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.audit.system.csvfile import write_csv
from lossprint.audit.types import LossprintError
from lossprint.scoring.sequences import bounds_of

SIDE = 32  # px of a frame
SPRITE = 14  # px of the picture that moves in it
# What is held in each phase, a label of the demo dataset, and how it moves.
PHASES = {
    "enter": ("bag", "in"),
    "dissect": ("shirt", "sway"),
    "clip": ("sandal", "turn"),
    "cut": ("sandal", "turn back"),
    "wash": ("trouser", "drop"),
    "leave": ("bag", "out"),
}
ERRORS = ("phase", "window", "boundary", "swap", "moved")
ORDER = ("swap", "moved", "shuffled")  # those of order; the others are wrong labels


@dataclass(frozen=True)
class Video:
    """One video as it was filmed: for each of its T frames the phase (T,) and the picture (T, SIDE, SIDE, 3) uint8."""

    labels: np.ndarray
    pictures: np.ndarray


@dataclass(frozen=True)
class Planted:
    """A damaged annotation: frame i of the manifest shows picture `shown[i]` (T,) under `labels[i]` (T,).

    The error touches the frames start to stop, stop excluded; none where the two are equal.
    """

    kind: str
    labels: np.ndarray
    shown: np.ndarray
    start: int
    stop: int


@dataclass(frozen=True)
class Truth:
    """What was planted. frames: sequence, frame, path, label (given), true_label, true_frame, error (kind or empty).

    spans: sequence, error, start, end, both frames inclusive.
    """

    manifest: Path
    frames: pd.DataFrame
    spans: pd.DataFrame


def grammar(random: np.random.Generator) -> list[str]:
    """The phases of one video in order: dissect comes twice in most, wash is left out of some."""
    middle = ["dissect"] if random.random() < 0.7 else []
    return ["enter", "dissect", "clip", "cut", *middle, *(["wash"] if random.random() < 0.7 else []), "leave"]


def film(random: np.random.Generator, sprites: dict[str, list[np.ndarray]], length: int = 200) -> Video:
    """A video of about `length` frames in a style of its own: light, tint, drift of the camera, the pictures held."""
    phases = grammar(random)
    share = random.dirichlet(np.full(len(phases), 6.0))
    spans = np.maximum(np.round(share * length * random.uniform(0.75, 1.25)).astype(int), 12)
    labels = np.repeat(phases, spans)
    count = len(labels)
    held = {what: options[random.integers(len(options))] for what, options in sprites.items()}
    tint, light = random.uniform(0.55, 1.0, 3), random.uniform(0.7, 1.1)
    pattern = np.asarray(
        Image.fromarray(random.integers(40, 130, (6, 6, 3), np.uint8)).resize((2 * SIDE, 2 * SIDE), Image.BILINEAR)
    )
    drift = np.cumsum(random.normal(0, 0.35, (count, 2)), 0) + SIDE / 2
    drift = np.abs((drift % (2 * SIDE)) - SIDE).astype(int)
    pictures = np.empty((count, SIDE, SIDE, 3), np.uint8)
    at, turns = 0, random.uniform(0.25, 0.4)
    for phase, span in zip(phases, spans):
        what, how = PHASES[phase]
        angle = random.uniform(0, 2 * np.pi)
        for step in range(span):
            x, y = _place(how, (step + 0.5) / span, angle + step * turns)
            down, right = drift[at]
            frame = pattern[down : down + SIDE, right : right + SIDE].astype(float)
            if phase == "wash":
                frame = frame * (0.75, 0.9, 1.35)
            _paste(frame, held[what], x + random.normal(0, 0.6), y + random.normal(0, 0.6))
            frame = frame * tint * light + random.normal(0, 6, frame.shape)
            pictures[at] = np.clip(frame, 0, 255)
            at += 1
    return Video(labels, pictures)


def plant(video: Video, kind: str, random: np.random.Generator) -> Planted:
    """One error of a kind of `ERRORS` in a video's annotation.

    phase: a whole phase has the label of a phase that looks otherwise. window: a third to two thirds of one has.
    boundary: a phase goes on for 6 to 12 frames too long, into one that looks otherwise. swap: the labels of clip and
    cut are exchanged, the pictures are not. moved: two neighbouring phases, pictures and labels, are exchanged in time.
    shuffled: 15 to 39 frames, pictures and labels, are in a random order.
    """
    labels, shown = video.labels.copy(), np.arange(len(video.labels))
    bounds = bounds_of(labels)
    starts, ends = bounds[:-1], bounds[1:]
    at = int(random.integers(len(starts)))
    if kind in ("phase", "window"):
        first, last = int(starts[at]), int(ends[at])
        if kind == "window":
            size = max(int((last - first) * random.uniform(1 / 3, 2 / 3)), 4)
            first += int(random.integers(last - first - size + 1))
            last = first + size
        held = PHASES[labels[first]][0]
        others = [phase for phase, (what, _) in PHASES.items() if what != held]
        labels[first:last] = others[random.integers(len(others))]
    elif kind == "boundary":
        held = [PHASES[labels[start]][0] for start in starts]
        seen = [later for later in range(1, len(held)) if held[later] != held[later - 1]]  # not between look-alikes
        at = seen[at % len(seen)]
        first = int(starts[at])
        last = min(first + int(random.integers(6, 13)), int(ends[at]) - 2)
        labels[first:last] = labels[first - 1]
    elif kind in ("swap", "moved"):
        at = int(np.flatnonzero(labels[starts] == "clip")[0]) if kind == "swap" else min(at, len(starts) - 2)
        first, middle, last = int(starts[at]), int(starts[at + 1]), int(ends[at + 1])
        if kind == "swap":
            labels[first:middle], labels[middle:last] = labels[middle], labels[first]
        else:
            shown[first:last] = np.r_[shown[middle:last], shown[first:middle]]
            labels = labels[shown]
    elif kind == "shuffled":
        size = int(random.integers(15, 40))
        first = int(random.integers(len(labels) - size))
        last = first + size
        shown[first:last] = first + random.permutation(size)
        labels = labels[shown]
    else:
        raise LossprintError(f"expected an error of {', '.join(ERRORS)} or shuffled, found {kind!r}")
    return Planted(kind, labels, shown, first, last)


def make_videos(
    out: str | Path,
    *,
    sequences: int = 24,
    length: int = 200,
    damaged: float = 0.5,
    seed: int = 0,
    errors: tuple[str, ...] = ERRORS,
) -> Truth:
    """Write `sequences` videos as frames with a manifest OUT/labels.csv, and say what was planted in them.

    A share `damaged` of them holds one error each, the kinds `errors` in turn; the others are clean. No splits are
    given: an audit draws them by whole sequences. The same arguments give the same bytes. Raises LossprintError where
    OUT holds files already.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LossprintError(f"expected a new or empty folder for the videos, found other files at {out}")
    random = np.random.default_rng(seed)
    sprites = _sprites()
    chosen = random.permutation(sequences)[: round(damaged * sequences)]
    kinds = {int(video): errors[turn % len(errors)] for turn, video in enumerate(chosen)}
    tables, spans = [], []
    for number in range(sequences):
        name = f"video{number:03d}"
        video = film(random, sprites, length)
        count = len(video.labels)
        plain = Planted("", video.labels, np.arange(count), 0, 0)
        planted = plant(video, kinds[number], random) if number in kinds else plain
        (out / name).mkdir(parents=True)
        paths = [f"{name}/{frame:05d}.png" for frame in range(count)]
        for path, picture in zip(paths, planted.shown):
            Image.fromarray(video.pictures[picture]).save(out / path)
        tables.append(
            pd.DataFrame(
                {
                    "sequence": name,
                    "frame": range(count),
                    "path": paths,
                    "label": planted.labels,
                    "true_label": video.labels[planted.shown],
                    "true_frame": planted.shown,
                    "error": [planted.kind if planted.start <= frame < planted.stop else "" for frame in range(count)],
                }
            )
        )
        if planted.kind:
            spans.append((name, planted.kind, planted.start, planted.stop - 1))
    frames = pd.concat(tables, ignore_index=True)
    write_csv(frames[["path", "label", "sequence", "frame"]], out / "labels.csv")
    return Truth(out / "labels.csv", frames, pd.DataFrame(spans, columns=["sequence", "error", "start", "end"]))


def _sprites() -> dict[str, list[np.ndarray]]:
    """Pictures (SPRITE, SPRITE) float in [0, 1] of the demo dataset, by its label, without those of planted errors."""
    demo = importlib.resources.files("lossprint.assets") / "demo"
    table, planted = (pd.read_csv(str(demo / name)) for name in ("labels.csv", "truth.csv"))
    table = table[~table["path"].isin(planted.loc[planted["is_error"] == 1, "path"])]
    found = {}
    for what in sorted({held for held, _ in PHASES.values()}):
        paths = table.loc[table["label"] == what, "path"].head(60)
        pictures = [Image.open(str(demo / path)).convert("L").resize((SPRITE, SPRITE), Image.BOX) for path in paths]
        found[what] = [np.asarray(picture, float) / 255 for picture in pictures]
    return found


def _place(how: str, progress: float, angle: float) -> tuple[float, float]:
    """The centre of what is held, px, at a progress in [0, 1] through the phase."""
    centre = SIDE / 2
    if how in ("in", "out"):
        gone = progress if how == "in" else 1 - progress
        return SPRITE / 2 - 4 + gone * (centre - SPRITE / 2 + 4), centre
    if how == "sway":
        return centre + 6 * np.sin(angle), centre + 3
    if how == "drop":
        return centre, SPRITE / 2 + (SIDE - SPRITE) * ((angle / 3) % 1)
    sign = 1 if how == "turn" else -1
    return centre + 7 * np.cos(angle), centre + 7 * sign * np.sin(angle)


def _paste(frame: np.ndarray, sprite: np.ndarray, x: float, y: float) -> None:
    """Draw a picture, the brighter the more opaque, into a frame (SIDE, SIDE, 3) at a centre that may lie outside."""
    left, top = round(x - SPRITE / 2), round(y - SPRITE / 2)
    rows = slice(max(top, 0), min(top + SPRITE, SIDE))
    columns = slice(max(left, 0), min(left + SPRITE, SIDE))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = sprite[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, None]
    cover = np.minimum(part * 3, 1.0)
    frame[rows, columns] = frame[rows, columns] * (1 - cover) + 255 * part * cover
