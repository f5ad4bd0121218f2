"""What the Sequences page draws, from the tables of frames and spans: bands, claims, states. No widgets."""

import itertools

import numpy as np
import pandas as pd

from lossprint.app import data
from lossprint.app.elements.timeline import Block, Row
from lossprint.audit.video import spans

BINS = 1200  # points of the severity that is drawn: more than a screen has pixels for
PRINTS, HEAT_BINS = 8, 400  # epochs of a loss print that are drawn, and points of each
PICTURES = 80  # of a video that the pointer runs along
SIDE = 96  # px of those
CHOICES = {"accept": "accepted", "keep": "rejected", "unsure": "unsure"}


def runs(values: np.ndarray) -> list[tuple[int, int]]:
    """(N,) values -> (first position, value) of each stretch of equal neighbours."""
    if not len(values):
        return []
    first = np.r_[0, np.flatnonzero(values[1:] != values[:-1]) + 1]
    return list(zip(first.tolist(), values[first].tolist()))


def binned(values: np.ndarray, most: int = BINS) -> list[int]:
    """The largest of each of at most `most` bins of values (N,) in [0, 1], in hundredths."""
    edges = np.linspace(0, len(values), min(most, len(values)) + 1).astype(int)[:-1]
    return np.round(100 * np.maximum.reduceat(np.nan_to_num(values), edges)).astype(int).tolist()


def names(loaded: data.Loaded) -> dict[str, int]:
    """Class index by label."""
    return {label: at for at, label in enumerate(loaded.classes)}


def _bands(loaded: data.Loaded, name: str) -> dict:
    """What never changes of a video's row; worked out once a run."""
    videos = data.videos(loaded)
    frames = videos.frames.iloc[videos.rows[name]]
    given, suggested = (frames[column].map(names(loaded)).to_numpy(np.int64) for column in ("label", "suggested_label"))
    number = frames["frame"].to_numpy(np.int64)
    offset = runs(number - np.arange(len(number)))
    severity = frames[["sequence_label", "sequence_order"]].max(axis=1).to_numpy(float)
    return {
        "name": name,
        "count": len(frames),
        "split": str(frames["split"].iloc[0]),
        "given": runs(given),
        "suggested": runs(suggested),
        "score": binned(severity),
        "doubt": binned(1 - frames["p_given"].to_numpy(float)),
        "numbers": [(first, first + by) for first, by in offset],
        "heat": _heat(loaded, videos.rows[name]),
    }


def _heat(loaded: data.Loaded, rows: np.ndarray) -> list[list[int]]:
    """Losses of a video's frames at a few epochs: 100 where the given label is as likely as one in C squared."""
    losses = data.derived(loaded, _losses)
    if losses is None:
        return []
    epochs = np.unique(np.linspace(0, len(losses) - 1, PRINTS).round().astype(int))
    most = 2 * np.log(max(len(loaded.classes), 2))
    return [binned(np.clip(losses[epoch, rows] / most, 0, 1), HEAT_BINS) for epoch in epochs]


def row(
    loaded: data.Loaded,
    name: str,
    said: pd.DataFrame,
    chosen: str | None = None,
    ends: dict | None = None,
    label: str | None = None,
    sprite: bool = False,
) -> Row:
    """A video's row: `said` of `spans.said`; `ends` (frame numbers) and `label` are what the finding `chosen`, which is
    being looked at, was given; `sprite`: with the pictures that the pointer runs along."""
    videos = data.videos(loaded)
    frames = videos.frames.iloc[videos.rows[name]]
    mine = videos.spans[videos.spans["sequence"] == name]
    blocks, after = [], None
    for span in mine.itertuples():
        edges = ends if span.span == chosen and ends else decided_ends(span, said)
        state = said["choice"].get(span.span, "open")
        start, stop, middle = positions(frames, **edges)
        blocks.append(Block(span.span, span.kind, start, stop, middle, state, claim(span, edges)))
        if span.span == chosen:
            after = runs(mended(frames, span, edges, label)["label"].map(names(loaded)).to_numpy(np.int64))
    pictures = data.derived(loaded, _sprite, name) if sprite else None
    return Row(**data.derived(loaded, _bands, name), after=after, blocks=tuple(blocks), sprite=pictures)


def own_ends(span) -> dict:
    """start, middle (None for a relabel) and end of a row of the spans, frame numbers."""
    middle = None if pd.isna(span.middle) else int(span.middle)
    return {"start": int(span.start), "middle": middle, "end": int(span.end)}


def decided_ends(span, said: pd.DataFrame) -> dict:
    """The ends with which a finding was accepted, as far as they are known, else its own."""
    edges = own_ends(span)
    if span.span not in said.index:
        return edges
    found = {one: said.at[span.span, one] for one, own in edges.items() if own is not None}
    found = {one: int(value) for one, value in found.items() if not pd.isna(value)}
    return edges | found if len(found) == sum(own is not None for own in edges.values()) else edges


def positions(frames: pd.DataFrame, start: int, end: int, middle: int | None) -> tuple[int, int, int | None]:
    """Frame numbers, end inclusive, as positions in the video: start, stop (excluded), middle."""
    number = frames["frame"].to_numpy(np.int64)
    at = None if middle is None else int(np.searchsorted(number, middle))
    return int(np.searchsorted(number, start)), int(np.searchsorted(number, end, side="right")), at


def numbers(frames: pd.DataFrame, start: int, stop: int, middle: int | None) -> dict:
    """Positions as frame numbers: start, middle and end (inclusive)."""
    number = frames["frame"].to_numpy(np.int64)
    last = len(number) - 1
    start, stop = min(max(int(start), 0), last), min(max(int(stop), 1), last + 1)
    at = None if middle is None else int(number[min(max(int(middle), 0), last)])
    return {"start": int(number[start]), "middle": at, "end": int(number[stop - 1])}


def claim(span, edges: dict, label: str | None = None) -> str:
    """What a finding says, in one sentence of plain text; `label` if another than the suggested one was chosen."""
    start, middle, end = edges["start"], edges["middle"], edges["end"]
    if span.how == "relabel":
        chosen = f" You chose {label}." if label not in (None, span.suggested_label) else ""
        return f"Frames {start} to {end} are labeled {span.label} and look like {span.suggested_label}.{chosen}"
    first, second = f"{start} to {middle - 1}", f"{middle} to {end}"
    if span.how == "swap":
        return f"Frames {first} ({span.label}) and {second} ({span.suggested_label}) have each other's labels."
    return f"Frames {first} ({span.label}) and {second} ({span.suggested_label}) stand in each other's place."


def mended(frames: pd.DataFrame, span, edges: dict, label: str | None = None) -> pd.DataFrame:
    """The video's frames as they would be: columns sample, frame and label, in the new order."""
    new = spans.mend(frames, span.how, edges["start"], edges["end"], edges["middle"], label or span.suggested_label)
    table = frames[["sample", "frame", "label"]].merge(new, on="sample", how="left")
    table["label"] = table["new_label"].where(table["new_label"].notna(), table["label"])
    table["frame"] = table["new_frame"].where(table["new_frame"].notna(), table["frame"]).astype("int64")
    return table.sort_values("frame", ignore_index=True)[["sample", "frame", "label"]]


def _steps(loaded: data.Loaded) -> pd.Series:
    """In how many videos one label follows another, by (label, next label)."""
    frames = data.videos(loaded).frames
    here = pd.DataFrame({"video": frames["sequence"].to_numpy(str), "label": frames["label"].to_numpy(str)})
    after = here.shift(-1)
    changes = (here["video"] == after["video"]) & (here["label"] != after["label"])
    table = here.assign(then=after["label"])[changes].drop_duplicates()
    return table.groupby(["label", "then"]).size()


def steps_of(labels: np.ndarray) -> list[tuple[str, str]]:
    """(N,) labels -> each step from one to another, once, in order."""
    order = [str(labels[first]) for first, _ in runs(labels)]
    return list(dict.fromkeys(itertools.pairwise(order)))


def unseen(loaded: data.Loaded, frames: pd.DataFrame, labels: np.ndarray, start: int, stop: int) -> list:
    """The steps from label to label at `labels` (N,), from a frame before to one after, that no other video makes."""
    count = data.derived(loaded, _steps)
    own = set(steps_of(frames["label"].to_numpy(str)))
    around = labels[max(start - 1, 0) : stop + 1]
    return [step for step in steps_of(around) if count.get(step, 0) - (step in own) <= 0]


def evidence(loaded: data.Loaded, frames: pd.DataFrame, span, edges: dict, label: str | None = None) -> str:
    """Why, in plain sentences: what the model over time gives the given labels, and steps no other video makes."""
    start, stop, _ = positions(frames, **edges)
    chance = float(frames["p_given"].iloc[start:stop].mean())
    said = []
    if span.how != "move":
        said.append(
            "The model over time, trained without this video, gives the given labels here a mean probability of "
            f"{chance:.0%}."
        )
    others = len(data.videos(loaded).rows) - 1
    if others < 2:
        return " ".join(said)
    before = unseen(loaded, frames, frames["label"].to_numpy(str), start, stop)
    after = unseen(loaded, frames, mended(frames, span, edges, label)["label"].to_numpy(str), start, stop)
    if before:
        said.append(f"None of the {others} other videos goes {_in_words(before)}.")
    if after:
        said.append(f"If accepted, it would go {_in_words(after)}, which no other video does.")
    elif before:
        said.append("If accepted, each step around here is one that other videos make as well.")
    return " ".join(said)


def _in_words(steps: list[tuple[str, str]]) -> str:
    return " or ".join(f"from {one} to {other}" for one, other in steps[:3])


def _sprite(loaded: data.Loaded, name: str) -> dict:
    """Evenly spaced pictures of a video, as data URIs."""
    videos = data.videos(loaded)
    samples = videos.frames["sample"].iloc[videos.rows[name]].to_numpy()
    count = min(PICTURES, len(samples))
    chosen = samples[((np.arange(count) + 0.5) * len(samples) / count).astype(int)]
    found = [data.thumb(loaded, int(sample), SIDE) for sample in chosen]
    blank = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    return {"sources": [one.uri if one else blank for one in found], "tiny": any(one and one.tiny for one in found)}


def picture(loaded: data.Loaded, name: str, position: int) -> dict | None:
    """One frame, for the timeline: sequence, position, doubt, src and whether it is tiny; None outside of the video.

    src is None where the image cannot be read.
    """
    videos = data.videos(loaded)
    frames = videos.frames.iloc[videos.rows[name]]
    if not 0 <= position < len(frames):
        return None
    one = frames.iloc[position]
    found = data.thumb(loaded, int(one["sample"]))
    doubt = round(100 * (1 - float(one["p_given"])))
    picture = {"src": found.uri if found else None, "tiny": bool(found and found.tiny)}
    return {"sequence": name, "position": position, "doubt": doubt} | picture


def prints(loaded: data.Loaded, span, edges: dict) -> dict[str, pd.Series]:
    """Mean loss by epochs of the span's frames, of other frames of the given and of the suggested label."""
    seen = data.derived(loaded, _losses)
    if seen is None:
        return {}
    videos = data.videos(loaded)
    frames = videos.frames
    number = frames["frame"]
    inside = ((frames["sequence"] == span.sequence) & number.between(edges["start"], edges["end"])).to_numpy()
    found = {"these frames": inside}
    for label in dict.fromkeys((span.label, span.suggested_label)):
        found[f"other frames of {label}"] = (frames["label"] == label).to_numpy() & ~inside
    return {
        name: pd.Series(seen[:, rows].mean(1), index=range(1, len(seen) + 1))
        for name, rows in found.items()
        if rows.any()
    }


def _losses(loaded: data.Loaded) -> np.ndarray | None:
    """Losses (E, M) of every frame by models over time: as one learnt the training videos, held out for others."""
    line = loaded.run.timeline()
    if line is None:
        return None
    losses = line["losses"]
    if "within.losses" in line:
        losses, trained = losses[: len(line["within.losses"])].copy(), line["trained"].astype(bool)
        losses[:, trained] = line["within.losses"][: len(losses)]
    return losses
