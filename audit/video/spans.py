"""A finding of a stretch of video frames -> the decisions on its frames, whatever ends an expert gave it."""

import numpy as np
import pandas as pd

from lossprint.audit.types import LossprintError

HOW = ("relabel", "swap", "move")
SAME = ("keep", "unsure")  # decisions that change nothing


def mend(
    frames: pd.DataFrame, how: str, start: int, end: int, middle: int | None = None, label: str | None = None
) -> pd.DataFrame:
    """What accepting a span says of each of its frames: sample, decision, new_label, new_frame; a row a changed frame.

    frames: of the one sequence, columns sample, frame (numbers, none twice), label. start, middle and end are frame
    numbers, end inclusive. `relabel` gives all of them `label`. The other two take two neighbouring blocks, start to
    before middle and middle to end: `swap` exchanges their labels (of most frames each), `move` their places in time
    (decision `reorder`: the same frame numbers, dealt anew). Raises LossprintError where the ends hold no frame, or a
    block is empty.
    """
    rows = frames.sort_values("frame")
    number = rows["frame"].to_numpy(np.int64)
    inside = (number >= start) & (number <= end)
    if not inside.any():
        raise LossprintError(f"expected frames from {start} to {end}, found none")
    rows, number = rows[inside], number[inside]
    given = rows["label"].astype(object).to_numpy()
    if how == "relabel":
        return _rows(rows, "relabel", np.full(len(rows), label, object), None, given != label)
    first = number < (start if middle is None else middle)
    if how not in HOW:
        raise LossprintError(f"expected how to be one of {', '.join(HOW)}, found {how!r}")
    if not first.any() or first.all():
        raise LossprintError(f"expected frames on both sides of {middle}, found none on one, from {start} to {end}")
    if how == "swap":
        new = np.where(first, most(given[~first]), most(given[first]))
        return _rows(rows, "relabel", new, None, given != new)
    size = int(first.sum())
    return _rows(rows, "reorder", None, np.r_[number[len(number) - size :], number[: len(number) - size]])


def decide(
    frames: pd.DataFrame,
    span: pd.Series,
    choice: str,
    *,
    start: int | None = None,
    end: int | None = None,
    middle: int | None = None,
    label: str | None = None,
) -> pd.DataFrame:
    """The decisions on a row of `Run.spans`: sample, decision, new_label, new_frame. None stands for the span's own.

    `choice` is accept, keep or unsure; all frames of the span have the latter two. Accepted with other ends, its frames
    that are left as they were are kept. For a move all rows have a new_frame, those that are kept their own: they are
    about places, see `types.Review`.
    """
    frames = frames[frames["sequence"] == span["sequence"]]
    own = frames.loc[frames["frame"].between(span["start"], span["end"]), "sample"].to_numpy()
    place = frames.set_index("sample")["frame"].reindex(own).to_numpy() if span["how"] == "move" else None
    kept = pd.DataFrame({"sample": own, "decision": "keep", "new_label": None, "new_frame": place})
    if choice != "accept":
        return kept.assign(decision=choice)
    given = {"start": start, "end": end, "middle": middle, "label": label}
    own_values = {
        "start": int(span["start"]),
        "end": int(span["end"]),
        "middle": None if pd.isna(span["middle"]) else int(span["middle"]),
        "label": span["suggested_label"],
    }
    changed = mend(frames, span["how"], **{name: own_values[name] if v is None else v for name, v in given.items()})
    left = kept[~kept["sample"].isin(changed["sample"])]
    # What changes comes last: the last row of a finding says what was decided on it.
    return pd.concat([left.astype(object), changed.astype(object)], ignore_index=True)


def said(history: pd.DataFrame, spans: pd.DataFrame, number: pd.Series) -> pd.DataFrame:
    """What stands on each span of `Run.spans`, indexed by its name: choice (accept, keep or unsure), reviewer, id.

    The latest decision counts, whoever made it; spans that nobody has decided on are left out. `number` has the frame
    number of every sample. start, middle and end (frame numbers, NaN where there is none) are the ends with which a
    span was accepted, as far as its changed frames tell: those that already were as they should be are none of them.
    """
    rows = history[history["stands"] & history["finding"].isin(spans["span"])]
    rows = rows[rows["at"] == rows.groupby("finding")["at"].transform("last")]
    table = rows.drop_duplicates("finding", keep="last").set_index("finding")[["decision", "reviewer", "id"]]
    table["choice"] = table["decision"].where(table["decision"].isin(SAME), "accept")
    changed = rows[~rows["decision"].isin(SAME)]
    changed = changed.assign(number=number.reindex(changed["sample"]).to_numpy(float)).sort_values("number")
    by = changed.groupby("finding")
    start = by["number"].min()
    # The second block begins at the frame that goes to the front, or where the new label is another.
    front = changed["new_frame"].astype(float) == changed["finding"].map(start)
    other = changed["new_label"].notna() & (changed["new_label"] != by["new_label"].transform("first"))
    second = changed[front | other].drop_duplicates("finding").set_index("finding")["number"]
    for name, values in (("start", start), ("middle", second), ("end", by["number"].max())):
        table[name] = values.reindex(table.index).astype(float)
    return table.drop(columns="decision")


def left_over(history: pd.DataFrame, span: pd.Series, rows: pd.DataFrame, frames: pd.DataFrame) -> pd.DataFrame:
    """Rows to store before `rows` of `decide`, in the same form: they keep frames that an earlier decision on the span,
    with wider ends, has changed, and that `rows` say nothing of."""
    mine = history[history["stands"] & (history["finding"] == span["span"])]
    before = mine.loc[~mine["sample"].isin(rows["sample"]), "sample"].unique()
    place = frames.set_index("sample")["frame"].reindex(before).to_numpy() if span["how"] == "move" else None
    return pd.DataFrame({"sample": before, "decision": "keep", "new_label": None, "new_frame": place})


def most(labels: np.ndarray) -> str:
    """The most frequent of the labels (N,), the first in the alphabet of several."""
    names, counts = np.unique(labels.astype(str), return_counts=True)
    return str(names[counts.argmax()])


def _rows(rows: pd.DataFrame, decision: str, labels, numbers, changed=None) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"sample": rows["sample"].to_numpy(), "decision": decision, "new_label": labels, "new_frame": numbers}
    )
    return frame if changed is None else frame[changed].reset_index(drop=True)
