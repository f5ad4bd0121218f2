"""What a command prints: words for people or, with --json, one object for programs; and the status of --fail-on."""

import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from lossprint.audit.cli import options as opt
from lossprint.audit.findings import doubts, limits, unjudged, views
from lossprint.audit.findings.table import counts
from lossprint.audit.runs.open import version
from lossprint.audit.runs.run import Run
from lossprint.audit.types import printable

OVER = 3  # exit status of a run that is over a limit of --fail-on
LIMITS = "exit status 3 where more is found, such as 'label_error>50,duplicate>0,unmeasured>0'"

as_json = opt.flag("--json as_json", "print the result as one JSON object")


class Limits(click.ParamType):
    """Limits of `--fail-on`, of the names that a command knows."""

    name = "limits"

    def __init__(self, names: tuple[str, ...] = limits.NAMES):
        self.names = names

    def convert(self, value, param, ctx):
        try:
            return limits.read(value, self.names) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"expected {error}", param, ctx)


fail_on = opt.option("--fail-on", Limits(), "LIMITS", LIMITS, default=())
both = opt.together(as_json, fail_on)


def show(text: str, result: dict[str, Any], as_json: bool) -> None:
    """Print the text, or the result with the command's name and the version; results.schema.json has its fields."""
    if not as_json:
        print(printable(text, "\n"))
        return
    name = click.get_current_context().command_path
    whole = {"lossprint": version(), "command": name.removeprefix("lossprint ")} | result
    print(json.dumps(plain(whole), allow_nan=False))


def tell(line: str) -> None:
    """Say something beside the result, on standard error."""
    print(f"lossprint: {printable(line)}", file=sys.stderr)


def finish(run: Run, text: str, as_json: bool, fail_on: tuple[limits.Limit, ...]) -> int:
    """Print what was found in a run, and which limits it is over; the exit status."""
    over = limits.broken(run, fail_on)
    show(text, about(run) | failed(over, fail_on), as_json)
    return status(over)


def about(run: Run) -> dict[str, Any]:
    """A run in numbers: what was found of each kind, and what could not be judged."""
    facts, dataset, found = run.manifest["facts"], run.manifest["dataset"], counts(run)
    doubted = doubts.sentences(run) if found["label_error"] else []
    return {
        "run": run.path.absolute(),
        "dataset": dataset.get("source"),
        "samples": dataset.get("counts", {}),
        "classes": len(run.classes),
        "findings": found,
        "unjudged": facts.get("find", {}).get("unjudged"),
        "notes": [*dataset.get("notes", []), *views.sentences(run), *doubted, *unjudged.sentences(run)],
    }


def failed(over: list[limits.Broken], fail_on: tuple[limits.Limit, ...]) -> dict[str, Any]:
    """The limits that were asked about and those that were broken, as fields of a result; none without any asked."""
    told = [{"limit": str(one.limit), "found": one.found, "unjudged": one.unjudged, "words": one.words} for one in over]
    return {"failed": told} if fail_on else {}


def status(over: list[limits.Broken]) -> int:
    """Say on standard error which limits are broken; the exit status."""
    for one in over:
        print(f"lossprint: over the limit {one.words}", file=sys.stderr)
    return OVER if over else 0


def plain(value: Any) -> Any:
    """A value as JSON has it: tables as lists of rows, what is missing as null."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.astype(object).to_dict("records")]
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(one) for one in value]
    if isinstance(value, Path | pd.Timestamp):
        return str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and not np.isfinite(value)):
        return None
    return value


def columns(frame) -> str:
    """Columns under each other, numbers to the right; a name is one line, whatever is in it."""
    cells = [[*map(str, frame.columns)], *([_printable(one) for one in row] for row in frame.itertuples(index=False))]
    width = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(wide) if at == 0 else cell.rjust(wide) for at, (cell, wide) in enumerate(zip(row, width)))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _printable(value: object) -> str:
    if isinstance(value, str):
        kept = "".join(one if one.isprintable() else "?" for one in value)
        return kept.encode(sys.stdout.encoding or "utf-8", "replace").decode(sys.stdout.encoding or "utf-8")
    return f"{value:,}"
