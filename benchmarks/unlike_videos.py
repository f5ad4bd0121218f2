"""Made-up videos that are unlike each other: what differs between two videos is more than what differs between phases.

Each video is of one place, a picture of its own with a light, a colour cast, a texture, a camera and a pace of its own.
A phase shows by the outline of its tool, which is out of the picture in many frames, and by what it does to the place:
a shift of its colours and of the camera's distance, much the same in all videos, but smaller than what lies between
two of them. So a judge that never saw a video is right in about half of its frames, where one that learns from it knows
what there is to compare with. Phases come back, are rare in some videos and left out of others.
Written for `sequences.py --unlike`.
"""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from lossprint.audit.system.csvfile import write_csv
from lossprint.audit.workflow.demo_videos import Planted, Truth, Video
from lossprint.scoring.sequences import bounds_of

SIDE = 40  # px of a frame
PLACE = 120  # px of the picture of a video's place
STATES = (  # each phase, and what it does to red, green, blue, and the camera's distance
    ("access", (0.3, 0.3, 0.3, 1.0)),
    ("expose", (0.0, 0.4, -0.2, -0.2)),
    ("divide", (0.5, -0.3, -0.3, -0.6)),
    ("clip", (-0.2, -0.1, 0.4, -0.9)),
    ("extract", (0.0, -0.5, 0.0, 0.6)),
    ("coagulate", (0.7, 0.2, -0.4, -0.1)),
    ("close", (-0.4, 0.2, 0.1, 0.8)),
)
PHASES = tuple(phase for phase, _ in STATES)
STRENGTH = 40  # gray levels of a step of a state
ERRORS = ("window", "phase", "boundary", "swap", "moved")
APART, TRIES = 10, 40  # frames between two errors of a video; draws of the second
SEEN = 0.7  # share of the frames in which the tool is in the picture


def film(random: np.random.Generator, length: int) -> Video:
    """One video of about `length` frames, in a style of its own."""
    order = _order(random)
    share = random.dirichlet(np.full(len(order), 2.0))
    spans = np.maximum(np.round(share * length).astype(int), 12)
    labels = np.repeat(order, spans)
    place, tools = _place(random), _tools(random)
    states = _states(random)
    cast, light, gamma = random.uniform(0.4, 1.0, 3), random.uniform(0.7, 1.1), random.uniform(0.8, 1.3)
    shake, noise, pace = random.uniform(0.3, 1.5), random.uniform(2, 10), random.uniform(0.03, 0.12)
    tone = random.uniform(60, 255, 3)
    pictures = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    centre = random.uniform(PLACE / 3, PLACE * 2 / 3, 2)
    camera, tool, state = centre.copy(), np.full(2, SIDE / 2), states[order[0]].copy()
    for at, phase in enumerate(labels):
        # The state of the place follows the phase after a while, and the camera wanders whatever the phase is.
        state += 3 * pace * (states[phase] - state) + random.normal(0, 0.05, 4)
        camera += random.normal(0, 2 * shake, 2) + 0.3 * (centre - camera)
        tool = np.clip(tool + 0.15 * (SIDE / 2 - tool) + random.normal(0, 2.5, 2), 4, SIDE - 4)
        frame = _view(place, camera, 1.4 + 0.45 * state[3])
        if _visible(at, pace, phase):
            cover = _shifted(tools[phase], tool)[..., None]
            frame = frame * (1 - cover) + cover * tone
        frame = frame + STRENGTH * state[:3]
        frame = 255 * np.clip(frame * cast * light / 255, 0, 1) ** gamma
        pictures[at] = np.clip(frame + random.normal(0, noise, frame.shape), 0, 255)
    return Video(labels, pictures)


def plant(video: Video, kind: str, random: np.random.Generator) -> Planted:
    """One error of a kind of `ERRORS`, as `demo_videos.plant` has them. swap: two neighbouring phases have each
    other's labels, the pictures stay. moved: two neighbouring phases, pictures and labels, are exchanged in time."""
    labels, shown = video.labels.copy(), np.arange(len(video.labels))
    bounds = bounds_of(labels)
    sizes = np.diff(bounds)
    others = [phase for phase in PHASES if phase in set(labels)]
    if kind in ("window", "phase"):
        long = np.flatnonzero(sizes >= 30)
        at = int(random.choice(long))
        first, last = int(bounds[at]), int(bounds[at + 1])
        if kind == "window":
            size = max(int((last - first) * random.uniform(1 / 4, 1 / 2)), 10)
            first += int(random.integers(last - first - size + 1))
            last = first + size
        labels[first:last] = random.choice([phase for phase in others if phase != labels[first]])
    elif kind == "boundary":
        at = int(random.choice(np.flatnonzero(sizes[1:] >= 30))) + 1
        first = int(bounds[at])
        last = first + int(random.integers(8, 16))
        labels[first:last] = labels[first - 1]
    else:
        pairs = np.flatnonzero((sizes[:-1] >= 16) & (sizes[1:] >= 16) & (sizes[:-1] + sizes[1:] < len(labels) / 2))
        at = int(random.choice(pairs)) if len(pairs) else int(np.argmin(sizes[:-1] + sizes[1:]))
        first, middle, last = (int(bound) for bound in bounds[at : at + 3])
        if kind == "swap":
            labels[first:middle], labels[middle:last] = labels[middle], labels[first]
        else:
            shown[first:last] = np.r_[shown[middle:last], shown[first:middle]]
            labels = labels[shown]
    return Planted(kind, labels, shown, first, last)


def make_videos(
    out: Path, *, sequences: int, seed: int, length: int = 300, errors: tuple[str, ...] = ERRORS, share: float = 0.75
) -> Truth:
    """Write `sequences` videos as frames with a manifest OUT/labels.csv, and say what was planted in them.

    A share of them holds two errors each, the kinds `errors` in turn; two more are of the split `val`, without any.
    """
    random, errors_random = (np.random.default_rng([seed, sequences, stream]) for stream in (0, 1))
    damaged = errors_random.permutation(sequences)[: round(share * sequences)].tolist()
    turns = itertools.cycle(errors[seed % len(errors) :] + errors[: seed % len(errors)])
    kinds = {video: (next(turns), next(turns)) for video in damaged}
    tables, spans = [], []
    for number in range(sequences + 2):
        name = f"video{number:03d}"
        video = film(random, int(length * random.uniform(0.7, 1.5)))
        count = len(video.labels)
        labels, shown, error = video.labels.copy(), np.arange(count), np.full(count, "", object)
        for planted in _planted(video, kinds.get(number, ()), errors_random):
            inside = slice(planted.start, planted.stop)
            labels[inside], shown[inside], error[inside] = planted.labels[inside], planted.shown[inside], planted.kind
            spans.append((name, planted.kind, planted.start, planted.stop - 1))
        (out / name).mkdir(parents=True)
        paths = [f"{name}/{frame:05d}.png" for frame in range(count)]
        for path, picture in zip(paths, shown):
            Image.fromarray(video.pictures[picture]).save(out / path, compress_level=1)
        tables.append(
            pd.DataFrame(
                {
                    "sequence": name,
                    "frame": np.arange(count),
                    "path": paths,
                    "split": "train" if number < sequences else "val",
                    "label": labels,
                    "true_label": video.labels[shown],
                    "true_frame": shown,
                    "error": error,
                }
            )
        )
    frames = pd.concat(tables, ignore_index=True)
    write_csv(frames[["path", "label", "split", "sequence", "frame"]], out / "labels.csv")
    return Truth(out / "labels.csv", frames, pd.DataFrame(spans, columns=["sequence", "error", "start", "end"]))


def _planted(video: Video, kinds: tuple[str, ...], random: np.random.Generator) -> list[Planted]:
    """Errors of these kinds that keep apart, as far as there is room for them."""
    chosen: list[Planted] = []
    for kind in kinds:
        for _ in range(TRIES):
            planted = plant(video, kind, random)
            if all(planted.start > one.stop + APART or planted.stop < one.start - APART for one in chosen):
                chosen.append(planted)
                break
    return chosen


def _order(random: np.random.Generator) -> list[str]:
    """The phases of one video: one of the middle ones may be left out, and one comes back."""
    order = list(PHASES)
    if random.random() < 0.5:
        order.remove(str(random.choice(PHASES[1:-1])))
    if random.random() < 0.6:
        back = int(random.integers(1, len(order) - 2))
        order.insert(int(random.integers(back + 2, len(order))), order[back])
    return [one for at, one in enumerate(order) if at == 0 or one != order[at - 1]]


def _place(random: np.random.Generator) -> np.ndarray:
    """The picture (PLACE, PLACE, 3) of a place: blotches of a size, and a texture, of its own."""
    size, fine = random.uniform(5, 14), random.uniform(0.6, 2.0)
    blotches = np.stack([gaussian_filter(random.normal(size=(PLACE, PLACE)), size) for _ in range(3)], 2)
    texture = gaussian_filter(random.normal(size=(PLACE, PLACE)), fine)[..., None]
    blotches, texture = blotches / blotches.std(), texture / texture.std()
    return np.clip(110 + 30 * blotches + random.uniform(4, 18) * texture, 0, 255).astype(np.uint8)


def _states(random: np.random.Generator) -> dict[str, np.ndarray]:
    """What each phase does to the place: a shift (3,) of its colours and a step away from it, in every video much the
    same and in none quite."""
    return {phase: np.array(state) * random.uniform(0.6, 1.2) + random.normal(0, 0.12, 4) for phase, state in STATES}


def _view(place: np.ndarray, camera: np.ndarray, distance: float) -> np.ndarray:
    """The picture (SIDE, SIDE, 3) of a camera over a place, the larger the distance the more of it."""
    size = int(np.clip(SIDE * distance, SIDE // 2, PLACE - 2))
    down, right = np.clip(camera - size / 2, 0, PLACE - size - 1).astype(int)
    window = Image.fromarray(place[down : down + size, right : right + size])
    return np.asarray(window.resize((SIDE, SIDE), Image.Resampling.BILINEAR), float)


def _tools(random: np.random.Generator) -> dict[str, np.ndarray]:
    """The outlines (SIDE, SIDE) in [0, 1] of the tools, one a phase, turned and sized as in this video."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    turn, scale = random.uniform(-0.6, 0.6), random.uniform(0.75, 1.25)
    x = (np.cos(turn) * columns + np.sin(turn) * rows) / scale
    y = (-np.sin(turn) * columns + np.cos(turn) * rows) / scale
    far = np.hypot(x, y)
    outlines = (
        np.abs(far - 8) < 2,  # a ring
        (np.abs(x) < 2.2) & (np.abs(y) < 13),  # a rod
        ((np.abs(x) < 2) | (np.abs(y) < 2)) & (far < 11),  # a cross
        ((np.abs(x - 5) < 1.8) | (np.abs(x + 5) < 1.8)) & (np.abs(y) < 10),  # two jaws
        far < 8,  # a bag
        (np.abs(y) < 9) & (np.abs(x) < (9 - y) / 2.2),  # a tip
        (np.abs((x + y) % 8 - 4) < 1.6) & (np.maximum(np.abs(x), np.abs(y)) < 10),  # stitches
    )
    return {phase: gaussian_filter(one.astype(float), 0.5) for phase, one in zip(PHASES, outlines)}


def _shifted(outline: np.ndarray, to: np.ndarray) -> np.ndarray:
    down, right = np.round(to - SIDE / 2).astype(int)
    padded = np.pad(outline, SIDE // 2)
    return padded[SIDE // 2 - down :, SIDE // 2 - right :][:SIDE, :SIDE]


def _visible(at: int, pace: float, phase: str) -> bool:
    """The tool comes and goes, for tens of frames at a time in a slow video."""
    return (np.sin(at * pace * 4 + PHASES.index(phase)) + 1) / 2 < SEEN
