"""Segments of videos: a CSV `sequence,start,end,label[,split]` beside the files `SEQUENCE.mp4`.

start and end are seconds (12.5) or clock times (MM:SS, H:MM:SS, each with decimals or not), and end is the first moment
that is no longer in the segment: neighbours share their boundary. With the columns `start_frame` and `end_frame` they
are numbers of the video's own frames, the first one being 0; end_frame is the last frame, unless the neighbours of the
file mostly share their boundary, too. Other columns are kept as they are.

`corrected_segments` is the way back: labels as decided, in the form of the file. It needs what `video` lays beside the
decoded frames: segments.csv (the file as it was), segments.json (how it was sampled) and images/SEQUENCE/video.json.
"""

import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from lossprint.audit.datasets.readers.manifests import DECODED
from lossprint.audit.datasets.source import split_of
from lossprint.audit.runs.places import dataset_of
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvrows import csv_rows
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import LossprintError

COPY = "segments.csv"
SECONDS = re.compile(r"[0-9]{1,9}(?:\.([0-9]{0,9}))?|\.([0-9]{1,9})")
CLOCK = re.compile(r"(?:([0-9]{1,3}):)?([0-9]{1,4}):([0-9]{2})(?:\.([0-9]{1,9}))?")
FRAME = re.compile(r"([0-9]{1,12})(?:\.0*)?")  # pandas writes 3.0 in a column in which some are missing


@dataclass(frozen=True, eq=False)
class Segments:
    """A file of segments. header and cells: as they stand there. table: a row each, in the order of the file, with
    sequence, label, split, line (what to call it in a message), start and end (Fraction, in the unit, end excluded).

    unit: seconds or frames. inclusive: whether an end in the file is the last frame of the segment.
    """

    path: Path
    header: list[str]
    cells: list[list[str]]
    table: pd.DataFrame
    unit: str
    inclusive: bool

    def of(self, sequence: str) -> pd.DataFrame:
        """The segments of a sequence by their starts; the index says where each stands in the file."""
        return self.table[self.table["sequence"] == sequence].sort_values("start", kind="stable")

    @property
    def sequences(self) -> list[str]:
        return list(dict.fromkeys(self.table["sequence"]))


@dataclass(frozen=True)
class Ranges:
    """The segments of one sequence as ranges [first, stop) of whole numbers, ascending: sampled frames where the file
    is in seconds (the k-th shows the time k / rate), the video's own frames where it is in frames."""

    first: list[int]
    stop: list[int]
    rows: list[int]

    def row(self, number: int) -> int | None:
        """The row of the file in whose segment a number lies."""
        at = bisect_right(self.first, number) - 1
        return self.rows[at] if at >= 0 and number < self.stop[at] else None


def ranges(segments: Segments, sequence: str, rate: Fraction) -> Ranges:
    """The sampled (or own) frames of each segment of a sequence; segments that are too short for one are left out."""
    mine = segments.of(sequence)
    scale = rate if segments.unit == "seconds" else 1
    found = [(math.ceil(s * scale), math.ceil(e * scale), row) for s, e, row in zip(mine.start, mine.end, mine.index)]
    found = [one for one in found if one[0] < one[1]]
    return Ranges(*(list(column) for column in zip(*found))) if found else Ranges([], [], [])


# ------------------------------------------------------------------------------------------------------- reading


def read_segments(path: Path) -> Segments:
    """Read and check a file of segments. The videos are not looked at.

    Raises LossprintError, with the line, for a missing column, a time that is none, an end that is not after its start,
    overlapping segments, a sequence in two splits or whose name is no plain file name, and fewer than two labels.
    """
    header, cells, lines = csv_rows(path)
    unit = "frames" if "start_frame" in header else "seconds"
    starts, ends = ("start_frame", "end_frame") if unit == "frames" else ("start", "end")
    if unit == "frames" and "start" in header:
        raise LossprintError(f"expected segments in seconds or in frames, found start and start_frame in {path}")
    for name in ("sequence", starts, ends, "label", "split"):
        if header.count(name) != 1 and (name != "split" or name in header):
            found = f"{header.count(name)} of them" if name in header else f"the columns {', '.join(header)[:200]}"
            raise LossprintError(f"expected one column {name!r} in {path}, found {found}")
    if not cells:
        raise LossprintError(f"expected segments in {path}, found no rows")
    column = {name: [row[header.index(name)] for row in cells] for name in dict.fromkeys(header)}
    for name in ("sequence", "label"):
        empty = next((line for line, cell in zip(lines, column[name]) if not cell.strip()), None)
        if empty:
            raise LossprintError(f"expected a {name} in every row of {path}, found an empty cell in {empty}")
    for name, line in zip(column["sequence"], lines):
        if re.search(r"[/\\\x00-\x1f\x7f]", name) or name.startswith("."):
            raise LossprintError(
                f"expected as sequence the name of a video beside {path.name}, without its extension, found {name!r} "
                f"in {line} of {path}"
            )
    table = pd.DataFrame({"sequence": column["sequence"], "label": column["label"], "line": lines})
    table["split"] = (
        [split_of(cell, line, path) for cell, line in zip(column["split"], lines)] if ("split" in column) else "train"
    )
    read = _frame if unit == "frames" else _seconds
    for name, cell in (("start", starts), ("end", ends)):
        values = [read(text.strip(), cell, line, path) for text, line in zip(column[cell], lines)]
        table[name] = pd.Series(values, dtype=object)
    inclusive = unit == "frames" and _ends_inclusive(table)
    if inclusive:
        table["end"] += 1
    _check(table, path, inclusive)
    return Segments(path, header, cells, table, unit, inclusive)


def _seconds(text: str, name: str, line: str, path: Path) -> Fraction:
    if SECONDS.fullmatch(text):
        return Fraction(text)
    clock = CLOCK.fullmatch(text)
    if clock and int(clock[3]) < 60 and (clock[1] is None or int(clock[2]) < 60):
        whole = int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + int(clock[3])
        return whole + Fraction(f"0.{clock[4] or 0}")
    raise LossprintError(f"expected seconds or H:MM:SS as {name}, found {text[:40]!r} in {line} of {path}")


def _frame(text: str, name: str, line: str, path: Path) -> Fraction:
    found = FRAME.fullmatch(text)
    if not found:
        raise LossprintError(f"expected a whole number as {name}, found {text[:40]!r} in {line} of {path}")
    return Fraction(int(found[1]))


def _ends_inclusive(table: pd.DataFrame) -> bool:
    """Whether neighbours more often begin a frame after the end before them than at it."""
    rows = table.sort_values(["sequence", "start"], kind="stable")
    same = (rows["sequence"] == rows["sequence"].shift()).to_numpy()[1:]
    steps = (rows["start"].to_numpy()[1:] - rows["end"].to_numpy()[:-1])[same]
    return int((steps == 0).sum()) <= int((steps == 1).sum())


def _check(table: pd.DataFrame, path: Path, inclusive: bool) -> None:
    for start, end, line in zip(table["start"], table["end"], table["line"]):
        if start >= end:
            found = f"{_plain(start)} to {_plain(end - inclusive)}"
            raise LossprintError(f"expected each segment to end after its start, found {found} in {line} of {path}")
    for name, mine in table.groupby("sequence", sort=False):
        other = mine[mine["split"] != mine["split"].iloc[0]]
        if len(other):
            one, two = mine.iloc[0], other.iloc[0]
            raise LossprintError(
                f"expected each sequence in one split, found {name!r} in {one['split']} ({one['line']}) and in "
                f"{two['split']} ({two['line']}) of {path}"
            )
        mine = mine.sort_values("start", kind="stable")
        for end, start, before, line in zip(mine["end"], mine["start"].iloc[1:], mine["line"], mine["line"].iloc[1:]):
            if start < end:
                raise LossprintError(
                    f"expected segments that do not overlap, found one of {name!r} that starts at {_plain(start)} "
                    f"({line}) before another ends, at {_plain(end - inclusive)} ({before} of {path})"
                )
    if table["label"].nunique() < 2:
        raise LossprintError(f"expected at least two labels in {path}, found only {table['label'].iloc[0]!r}")


def _plain(value: Fraction) -> str:
    return f"{float(value):.10g}"


# ------------------------------------------------------------------------------------------------- the way back


@dataclass
class _Piece:
    """A stretch of one label. row: of the file, whose other cells it has. changed: whether its last frames have another
    label than the given one; kept: whether any frames have the given one.
    """

    row: int
    start: Fraction
    end: Fraction
    start_text: str
    end_text: str
    label: str
    changed: bool
    kept: bool


def corrected_segments(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """The run's segments as decided, in the form of the file that was audited: its columns, all as text.

    table: a row a sample as `Applied.table` has it; read are sequence, frame (given_frame where there is one, for a
    video file is not cut anew), label (as decided) and change (`excluded`: in no segment any more). Where labels change
    within a segment, it is cut at the first frame of the other label, to a millisecond; neighbours that touch are one
    where a changed label made them equal. Segments without a changed frame stand as they were, byte by byte.

    Raises LossprintError where the run is not one of segments of videos.
    """
    folder = Path(dataset_of(run).get("root") or run.path)
    about, segments = sampling(folder), read_segments(folder / COPY)
    rate = Fraction(str(about["rate"]))
    number = table["given_frame" if "given_frame" in table else "frame"]
    rows = pd.DataFrame({"sequence": table["sequence"], "number": number, "label": table["label"].astype(object)})
    rows.loc[(table["change"] == "excluded").to_numpy(), "label"] = None
    rows = rows[rows["number"].notna()].astype({"number": "int64"}).sort_values(["sequence", "number"])
    frames = dict(tuple(rows.groupby("sequence")))
    pieces = []
    for name in segments.sequences:
        own = {}
        if segments.unit == "frames":
            video = read_video(folder / "images" / name)
            own = dict(zip(video["frames"], video["source"]))
        pieces += _merged(_cut(segments, name, frames.get(name, rows.iloc[:0]), rate, own))
    pieces.sort(key=lambda piece: (piece.row, piece.start))
    starts, ends = ("start_frame", "end_frame") if segments.unit == "frames" else ("start", "end")
    out = []
    for piece in pieces:
        cells = dict(zip(range(len(segments.header)), segments.cells[piece.row]))
        new = {starts: piece.start_text, ends: piece.end_text, "label": piece.label}
        out.append([new.get(name, cells[at]) for at, name in enumerate(segments.header)])
    return pd.DataFrame(out, columns=segments.header, dtype="string")


def _cut(segments: Segments, name: str, frames: pd.DataFrame, rate: Fraction, own: dict[int, int]) -> list[_Piece]:
    """The pieces of a sequence by time. frames: number and label, missing for an excluded one, by number."""
    numbers = frames["number"].to_numpy(np.int64)
    places = numbers if segments.unit == "seconds" else np.array([own[number] for number in numbers.tolist()], np.int64)
    codes, labels = pd.factorize(frames["label"])
    scale = rate if segments.unit == "seconds" else Fraction(1)
    starts, ends = (segments.header.index(f"{one}{'_frame' * (segments.unit == 'frames')}") for one in ("start", "end"))
    pieces = []
    for row, start, end, given in segments.of(name)[["start", "end", "label"]].itertuples():
        texts = segments.cells[row][starts], segments.cells[row][ends]
        first, stop = np.searchsorted(places, [math.ceil(start * scale), math.ceil(end * scale)])
        mine = codes[first:stop]
        cuts = [0, *(np.flatnonzero(mine[1:] != mine[:-1]) + 1).tolist()] if len(mine) else []
        if all(code >= 0 and labels[code] == given for code in mine[cuts]):
            pieces.append(_Piece(row, start, end, *texts, given, False, True))
            continue
        at = [start, *(Fraction(int(places[first + cut])) / scale for cut in cuts[1:]), end]
        inner = at[1:-1]
        begins = [texts[0], *(_text(value, texts[0], segments.unit) for value in inner)]
        stops = [*(_text(value - segments.inclusive, texts[0], segments.unit) for value in inner), texts[1]]
        for k, code in enumerate(mine[cuts]):
            if code >= 0:
                label = str(labels[code])
                other = label != given
                pieces.append(_Piece(row, at[k], at[k + 1], begins[k], stops[k], label, other, not other))
    return pieces


def _merged(pieces: list[_Piece]) -> list[_Piece]:
    """Neighbours that touch are one where a changed label made them equal; other cells: of the first unchanged."""
    merged: list[_Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        touch = last is not None and last.end == piece.start and last.label == piece.label
        if touch and (last.changed or piece.changed):
            last.row = piece.row if piece.kept and not last.kept else last.row
            last.end, last.end_text = piece.end, piece.end_text
            last.changed, last.kept = piece.changed, last.kept or piece.kept
        else:
            merged.append(piece)
    return merged


def _text(value: Fraction, like: str, unit: str) -> str:
    """A boundary as the file writes them: frames, seconds or clock times, with as many decimals at least.

    Times are cut to a millisecond, not rounded: the frame at the boundary must stay behind it.
    """
    if unit == "frames":
        return str(int(value))
    whole, thousandths = divmod(math.floor(value * 1000), 1000)
    like = like.strip()
    decimals = f"{thousandths:03d}".rstrip("0").ljust(len(like.partition(".")[2]), "0")
    parts = like.partition(".")[0].split(":")
    text = str(whole)
    if len(parts) > 1:
        minutes, seconds = divmod(whole, 60)
        text = f"{minutes:0{len(parts[0])}d}:{seconds:02d}"
        if len(parts) == 3:
            text = f"{minutes // 60:0{len(parts[0])}d}:{minutes % 60:02d}:{seconds:02d}"
    return f"{text}.{decimals}" if decimals else text


# ------------------------------------------------------------------------------------- what lies beside the frames


def sampling(folder: Path) -> dict:
    """How the frames in a folder were decoded: rate, side, unit, inclusive, source, videos, notes.

    Raises LossprintError where they were not decoded from videos, or not to the end.
    """
    about = _json(folder / DECODED)
    if "lossprint" not in about or "videos" not in about:
        raise LossprintError(f"expected the decoded frames of videos in {folder}, found none or a part of them")
    return about


def read_video(folder: Path) -> dict:
    """What is known of one decoded video: fps, seconds, frames (sampled numbers), source (its own number of each)."""
    return _json(folder / "video.json")


def _json(path: Path) -> dict:
    try:
        found = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LossprintError(f"expected a run of segments of videos, found no {path.name} in {path.parent}") from None
    except (OSError, ValueError) as error:
        raise LossprintError(f"expected a readable {path.name} in {path.parent}, found: {error}") from None
    return found if isinstance(found, dict) else {}
