"""Decisions in a CSV of another tool, of a spreadsheet or of our own exports, read row by row."""

import csv
import io
from dataclasses import replace

from lossprint.audit.export import labelstudio
from lossprint.audit.export.applied import LEFT_UNSURE
from lossprint.audit.export.labelstudio import Said
from lossprint.audit.export.sample_paths import PATHS
from lossprint.audit.review.resolve import LABELLED
from lossprint.audit.review.reviews import CHOICES
from lossprint.audit.system.csvfile import as_meant
from lossprint.audit.types import LossprintError

LABELS = ("new", "new_label", "cleaned_label", "corrected_label", "label")  # the first that a file has counts
REVIEWERS = ("reviewer", "annotator", "completed_by", "who")
# Columns of lists that we write, or of a manifest: there `label` is the given one until somebody edits it.
OWN = ({"kind", "severity"}, {"score", "rank"}, {"split"})
SHOWN = 80  # characters of a hostile text in a message


def read_csv(text: str, name: str, marked: bool = False, whole: int = 0) -> tuple[list[Said], int]:
    """What the rows of a CSV text say, and how many say nothing. `name` stands for the file in a LossprintError.

    marked: whether the file starts with a byte order mark, see `csvfile.as_meant`. whole: how many samples the dataset
    has: a file of as many rows is taken for a copy of its manifest.
    """
    rows, lines = _rows(text, name)
    header = [cell.strip().lower() for cell in rows[0]]

    def column(*names: str) -> int | None:
        found = next((one for one in names if one in header), None)
        if found is not None and header.count(found) > 1:
            raise LossprintError(f"expected one column {found!r} in {name}, found {header.count(found)}")
        return None if found is None else header.index(found)

    moved = {"source", "given_label", "change"} <= set(header)  # labels.csv of an exported folder: the dataset's path
    places = {"path": column("source") if moved else column(*PATHS)}
    places |= {"sample": column("sample"), "label": column(*LABELS)}
    places |= {"decision": column("decision"), "reviewer": column(*REVIEWERS), "comment": column("comment")}
    places |= {"finding": column("finding"), "at": column("at", "updated_at", "created_at"), "role": column("role")}
    places |= {"review": column("review"), "reason": column("reason"), "issue": column("is_label_issue")}
    places |= {"blind": column("blind"), "given": column("given_label"), "new_frame": column("new_frame")}
    if (places["path"] is None and places["sample"] is None) or (
        places["label"] is None and places["decision"] is None
    ):
        raise LossprintError(
            f"expected a column path or sample and a column {', '.join(LABELS)} or decision in {name}, "
            f"found {', '.join(map(repr, header))[:300]}"
        )
    columns = {at for at in places.values() if at is not None}
    for row, line in zip(rows[1:], lines[1:]):
        if len(row) != len(header):
            raise LossprintError(f"expected {len(header)} cells in {line} of {name}, found {len(row)}")
    # A spreadsheet may have saved its guarded cells without the mark; paths and labels are looked up in either form.
    free = places["comment"]
    meant = {at: as_meant([row[at] for row in rows[1:]], marked or at == free) for at in columns}
    listed = any(signs <= set(header) for signs in OWN) or 0 < whole < len(rows)
    copied = listed and places["label"] is not None and header[places["label"]] == "label"
    said, nothing = [], 0
    for number, line in enumerate(lines[1:]):
        cells = {key: "" if at is None else meant[at][number] for key, at in places.items()}
        one = _said(cells, line, name, reviewed="review" in header)
        if one and copied and not (one.verdict or one.reviewer):
            one = replace(one, copied=True)
        said += [one] if one else []
        nothing += one is None
    return said, nothing


def _rows(text: str, name: str) -> tuple[list[list[str]], list[str]]:
    """The rows of a CSV text that are not empty, and what to call each in a message."""
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise LossprintError(f"expected a CSV file, found in line {reader.line_num} of {name}: {error}") from None
    return rows, lines


def _delimiter(text: str) -> str:
    """What the first line is split by: a comma, a semicolon or a tab, as spreadsheets of some countries write."""
    head = text.lstrip("\r\n").splitlines()[0]
    return max((",", ";", "\t"), key=head.count)


def _said(cells: dict[str, str], line: str, name: str, reviewed: bool) -> Said | None:
    """What a row says, None where it says nothing."""
    decision, label = cells["decision"].strip().lower(), cells["label"] or None
    if reviewed and not cells["review"].strip() and (not cells["given"] or label in (None, cells["given"])):
        return None
    if not decision and cells["reason"].startswith(LEFT_UNSURE):
        decision = "unsure"
    if decision and decision not in CHOICES:
        shown = cells["decision"][:SHOWN]
        raise LossprintError(f"expected a decision of {', '.join(CHOICES)}, found {shown!r} in {line} of {name}")
    no_issue = cells["issue"].strip().lower() in ("false", "0", "no")
    if not decision and (label is None or (no_issue and label == (cells["given"] or label))):
        return None
    if decision in LABELLED and label is None:
        raise LossprintError(f"expected a label with {decision!r}, found none in {line} of {name}")
    if decision == "reorder" and not is_whole(cells["new_frame"]):
        found = cells["new_frame"][:SHOWN]
        raise LossprintError(
            f"expected a frame number as new_frame with 'reorder', found {found!r} in {line} of {name}"
        )
    verdict = decision if decision in (*labelstudio.VERDICTS, "keep", "reorder") else None
    label = None if decision == "reorder" else label
    meta = {key: cells[key] for key in ("finding", "role", "blind", "review") if cells[key]}
    meta |= {"new_frame": int(cells["new_frame"])} if decision == "reorder" else {}
    meta |= {"decision": decision} if decision else {}
    data = {"path": cells["path"], "sample": cells["sample"]}
    reviewer = cells["reviewer"].strip() or None
    return Said(line, data, label, verdict, reviewer, cells["comment"], cells["at"].strip(), meta or None)


def is_whole(value: object) -> bool:
    """Whether a cell or a number of JSON is a whole number that a database can hold."""
    text = str(value).strip()
    return not isinstance(value, bool) and text.isascii() and text.isdigit() and len(text) < 19
