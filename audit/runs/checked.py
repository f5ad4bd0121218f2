"""What run.json and the tables of a run folder must be for everything else to read them: names, kinds, no gaps.

A run folder may come from strangers, or be damaged in ways that Parquet does not notice. What is wrong is said here, as
a ValueError whose text continues "found: ", so that no reader has to expect a missing column or a word for a number.
"""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as kinds

from lossprint.audit.runs.tables import (
    ANNOTATORS,
    CHECKED,
    CONSENSUS,
    COUNTED,
    EXPOSURE,
    FINDINGS,
    FRAMES,
    HEAD,
    MEMORIZATION,
    PAIRS,
    QUALITY,
    RESPONSES,
    SPANS,
    VOTES,
)
from lossprint.audit.scores import SCORES
from lossprint.audit.system.jsontext import parsed

DAMAGED = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError)  # what damaged Parquet raises
NUMBER, WHOLE, LIST = (int, float), int, list
MANIFEST = {
    "asked": {"dataset": str, "model": str, "epochs": WHOLE, "seed": WHOLE, "seeds": WHOLE, "folds": WHOLE}
    | {"files": LIST, "checkpoints": str, "losses": str, "curvature_checkpoints": WHOLE}
    | {"weights": str, "features": str, "near_similarity": NUMBER}
    | {"auto": {"backbone": str, "network": NUMBER, "backbone_share": NUMBER, "samples": WHOLE}},
    "dataset": {"source": str, "root": str, "kind": str, "fingerprint": str, "task": str, "media": str}
    | {"classes": LIST, "labels": LIST, "notes": LIST, "counts": dict}
    | {"shown": {"ground": str, "whole": LIST, "real": LIST}, "choices": {"max_pixels": WHOLE}},
    "stages": LIST,
    "facts": {"record": {"seconds": NUMBER, "size": WHOLE, "incomplete": WHOLE}, "curvature": {"seconds": NUMBER}}
    | {"embed": {"seconds": NUMBER}, "score": {"seconds": NUMBER, "few_validation": dict, "views": dict}}
    | {"find": {"seconds": NUMBER, "findings": dict}},
    "seed": WHOLE,
    "place": str,
    "recording": str,
    "created": str,
    "lossprint": str,
    "versions": dict,
}
LISTS = ("classes", "labels", "notes")  # of text
NEEDED = ("asked", "dataset", "stages", "facts")
WORDS = {str: "text", WHOLE: "a whole number", NUMBER: "a number", LIST: "a list", dict: "an object"}


def read_manifest(content: bytes) -> dict:
    """The object in run.json. Raises ValueError, RecursionError or KeyError for anything else or wrong kinds in it."""
    manifest = parsed(content.decode("utf-8"))
    if not isinstance(manifest, dict):
        raise ValueError("no object")
    json.dumps(manifest, ensure_ascii=False).encode()  # half of a character could neither be shown nor written again
    if isinstance(manifest["format"], bool) or not isinstance(manifest["format"], int):
        raise ValueError(f"the format {manifest['format']!r:.40}")
    return manifest


def check_manifest(manifest: dict) -> None:
    """Raise ValueError where a field is of another kind than those of this format. Unknown ones are passed over."""
    for name in NEEDED:
        if manifest.get(name) is None:
            raise ValueError(f"no {name}")
    _check_fields(manifest, MANIFEST, "")
    dataset = manifest["dataset"]
    if dataset.get("classes") is None:
        raise ValueError("no dataset.classes")
    for name, texts in (("stages", manifest["stages"]), *((f"dataset.{key}", dataset.get(key)) for key in LISTS)):
        if not all(isinstance(one, str) for one in texts or ()):
            raise ValueError(f"something else than text in {name}")
    if views := (manifest["facts"].get("score") or {}).get("views"):
        _check_views(views)
    if len(set(dataset["classes"])) != len(dataset["classes"]):
        raise ValueError("a class that comes twice in dataset.classes")
    for name, counts in (("dataset.counts", dataset.get("counts")), ("facts.find.findings", _findings(manifest))):
        if not all(type(one) is int for one in (counts or {}).values()):
            raise ValueError(f"something else than whole numbers in {name}")


def _check_views(views: dict) -> None:
    """Of a run of two views: accuracy and weight of each, shares."""
    if len(views) != 2:
        raise ValueError(f"{len(views)} views instead of two in facts.score.views")
    for name, facts in views.items():
        for key in ("accuracy", "weight"):
            share = facts.get(key) if isinstance(facts, dict) else None
            if isinstance(share, bool) or not isinstance(share, NUMBER) or not 0 <= share <= 1:
                raise ValueError(f"{share!r:.40} instead of a share as facts.score.views.{name[:40]}.{key}")


def _findings(manifest: dict) -> dict | None:
    return (manifest["facts"].get("find") or {}).get("findings")


def _check_fields(found: object, wanted: dict, where: str) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"no object as {where.rstrip('.')}")
    for name, kind in wanted.items():
        value = found.get(name)
        if value is None:
            continue
        if isinstance(kind, dict):
            _check_fields(value, kind, f"{where}{name}.")
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind in (WHOLE, NUMBER)):
            raise ValueError(f"{value!r:.40} instead of {WORDS[kind]} as {where}{name}")
        elif kind in (WHOLE, NUMBER) and not 0 <= value < 2**63:
            raise ValueError(f"{value!r:.40} as {where}{name}")


def check_result(result: object) -> dict:
    """What `lossprint check` kept; ValueError where a field that pages read is of another kind."""
    fields = {"batch": str, "name": str, "images": WHOLE, "labelled": WHOLE, "unmeasured": WHOLE, "notes": LIST}
    _check_fields(result, fields | {"parts": dict, "unreadable": LIST}, "")
    for name, part in result["parts"].items():
        _check_fields(part, {"found": WHOLE, "unjudged": WHOLE, "why": str}, f"parts.{name}.")
    return result


def repair_result(result: object) -> dict:
    """What `lossprint repair` kept; ValueError where a field that pages read is of another kind."""
    _check_fields(result, {"model": str, "arms": LIST, "sentences": LIST, "notes": LIST}, "")
    for row in result["arms"]:
        _check_fields(row, {"arm": str, **dict.fromkeys(("accuracy", "low", "high"), NUMBER)}, "arms.")
        if None in [row.get(name) for name in ("arm", "accuracy", "low", "high")]:
            raise ValueError("an arm without its accuracy")
    if not all(isinstance(one, str) for one in [*result["sentences"], *result["notes"]]):
        raise ValueError("something else than text in sentences or notes")
    return result


def exposure_facts(facts: object) -> dict:
    """What stands beside the table of exposure; ValueError where a field is of another kind. NaN for what is null."""
    whole = dict.fromkeys(("checkpoints", "warm_up", "copies"), WHOLE)
    _check_fields(facts, whole | {"learnt": NUMBER, "notes": LIST, "attack": {"members": WHOLE, "others": WHOLE}}, "")
    if set(facts) != {*whole, "learnt", "notes", "attack"} or not all(isinstance(one, str) for one in facts["notes"]):
        raise ValueError("other fields than those of an exposure")
    if facts["attack"] is not None:
        numbers = [facts["attack"]["auroc"], facts["attack"]["error"]]
        for name in ("found", "spared"):
            rates = [
                {key: float("nan") if one[key] is None else one[key] for key in one} for one in facts["attack"][name]
            ]
            numbers += [value for one in rates for value in one.values()]
            facts["attack"][name] = rates
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
            raise ValueError("something else than numbers in attack")
    return facts


# ------------------------------------------------------------------------------------------------ tables


def _whole(kind: pa.DataType) -> bool:
    return kinds.is_integer(kind)


def _number(kind: pa.DataType) -> bool:
    return kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_null(kind)


def _text(kind: pa.DataType) -> bool:
    kind = kind.value_type if kinds.is_dictionary(kind) else kind
    return kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)


def _maybe_text(kind: pa.DataType) -> bool:
    return _text(kind) or kinds.is_null(kind)


def _truth(kind: pa.DataType) -> bool:
    return kinds.is_boolean(kind)


def _bytes(kind: pa.DataType) -> bool:
    return kinds.is_binary(kind) or kinds.is_null(kind)


def _typed(schema: pa.Schema) -> dict:
    """As `_of`, of tables with truth values, bytes and ids."""

    def fits(field: pa.Field):
        if field.name == "sample":
            return _whole
        if kinds.is_binary(field.type):
            return _bytes
        return _truth if kinds.is_boolean(field.type) else _maybe_text if kinds.is_string(field.type) else _number

    return {field.name: fits(field) for field in schema}


def _of(schema: pa.Schema) -> dict:
    return {field.name: _maybe_text if kinds.is_string(field.type) else _number for field in schema}


def _named(names: tuple[str, ...], **special) -> dict:
    usual = {"sample": _whole, "partner": _whole, "rank": _whole, "severity": _number, "correlation": _number}
    return {name: special.get(name) or usual.get(name, _text) for name in names}


TABLES = {
    "samples.parquet": _named(
        ("sample", "path", "label", "split", "sequence", "frame"), sequence=_maybe_text, frame=_number
    ),
    "scores.parquet": _named(("sample", "path", "label", "suggested_label"), suggested_label=_maybe_text),
    "findings.parquet": _named(FINDINGS, suggested_label=_maybe_text),
    "further.parquet": _named(("sample",)),
    "layout.parquet": _named(("sample", "x", "y"), x=_number, y=_number),
    "pairs.parquet": _named(PAIRS),
    "duplicates.parquet": _named(("sample", "partner", "kind", "similarity"), similarity=_number),
    "aside.parquet": _named(("path", "split", "sample", "kind", "similarity"), similarity=_number),
    "unreadable.parquet": _named(("path", "reason")),
    "quality.parquet": {field.name: _whole if kinds.is_integer(field.type) else _number for field in QUALITY},
    "frames.parquet": _of(FRAMES),
    "spans.parquet": _of(SPANS),
    "check.parquet": _typed(CHECKED),
    "consensus.parquet": _typed(CONSENSUS),
    "annotators.parquet": _typed(ANNOTATORS),
    "votes.parquet": _typed(VOTES),
    "counted.parquet": _typed(COUNTED),
    "responses.parquet": _typed(RESPONSES),
    "exposure.parquet": _typed(EXPOSURE),
    "memorization.parquet": _typed(MEMORIZATION),
    "head.parquet": {field.name: _truth if kinds.is_boolean(field.type) else _number for field in HEAD},
}
FREE = {"scores.parquet": {"suggested_label"}, "samples.parquet": {"sequence", "frame"}, "frames.parquet": set()}
FREE |= {"head.parquet": {"head_curvature"}}  # of runs made before there was one
ONCE = (
    "samples.parquet",
    "further.parquet",
    "layout.parquet",
    "scores.parquet",
    "frames.parquet",
    "head.parquet",
    "quality.parquet",
    "exposure.parquet",
    "memorization.parquet",
)  # a row a sample
MISSING = (_maybe_text, _number, _bytes)  # kinds whose values may be missing


def frame(found: pa.Table, name: str, columns: list[str] | None = None) -> pd.DataFrame:
    """A table of a run, or those `columns` of it, for pandas. Raises ValueError where others could not go on with it.

    Whether its samples are those of the run is not looked at here.
    """
    check_table(found, name, columns)
    made = found.to_pandas()
    if list(made.columns) != found.column_names:  # what pandas noted in the file may say anything
        raise ValueError("a note of pandas that does not fit the columns")
    if name == "samples.parquet" and columns is None and "sequence" not in made:
        made["sequence"] = pd.array([pd.NA] * len(made), "string")
        made["frame"] = pd.array([pd.NA] * len(made), "Int64")
    return made


def check_table(found: pa.Table, name: str, columns: list[str] | None = None) -> None:
    """Raise ValueError where the columns are not those of the table of this name."""
    names = found.column_names
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice:
        raise ValueError(f"the column {twice!r} twice")
    wanted = TABLES.get(name, {})
    if name == "scores.parquet":
        wanted = wanted | {one: _number for one in (*SCORES, "suggested_probability") if one in names}
    empty = found.num_rows == 0  # pandas knows no kinds of what is not there
    for column, fits in wanted.items():
        if columns is not None and column not in columns:
            continue
        if column not in names:
            if column in FREE.get(name, ()):
                continue
            raise ValueError(f"no column {column!r}")
        if not empty and not fits(found.schema.field(column).type):
            raise ValueError(f"{found.schema.field(column).type} in the column {column!r}")
        if fits not in MISSING and found[column].null_count:
            raise ValueError(f"empty cells in the column {column!r}")
    if name in ONCE and "sample" in names and not empty:
        _once(found["sample"])
    if name == "samples.parquet" and columns is None and ("sequence" in names) != ("frame" in names):
        raise ValueError("sequence without frame, or frame without sequence")


def _once(column: pa.ChunkedArray) -> None:
    ids = column.to_numpy()
    if not (ids[1:] > ids[:-1]).all() and len(np.unique(ids)) < len(ids):
        raise ValueError("a sample that has two rows")
