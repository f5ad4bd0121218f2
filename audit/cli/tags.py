"""`lossprint tags`: tags on samples, as the dashboard has them."""

from pathlib import Path

import click
import pandas as pd

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command
from lossprint.audit.runs.open import open_run


@click.command("tags", cls=Command)
@opt.run
@opt.option("--add", str, "NAME", "put this tag on the samples")
@opt.option("--remove", str, "NAME", "take this tag off the samples")
@opt.option("--samples", opt.samples, "A,B,...", "by their numbers", default=())
@opt.option("--reviewer", str, "NAME", "who does, with --add and --remove")
@output.as_json
def tags(run: Path, add: str | None, remove: str | None, samples: tuple, reviewer: str | None, as_json: bool) -> None:
    """Which tags there are, on how many samples; or put one on, or take it off."""
    from lossprint.audit.review.marks import open_marks

    if add is not None and remove is not None:
        raise click.UsageError("expected one of --add and --remove, found both")
    name = remove if add is None else add
    if (name is None) != (not samples) or (name is None) != (reviewer is None):
        raise click.UsageError("expected --samples and --reviewer beside --add or --remove, and only there")
    opened = open_run(run)
    with open_marks(opened) as marks:
        changed = 0
        if name is not None:
            step = marks.tag(name, samples, reviewer, remove=add is None)
            changed = 0 if step is None else len(step.samples)
        table = marks.table()
    counts = table.groupby("tag", sort=False).agg(samples=("sample", "size"), latest=("at", "max")).reset_index()
    counts = counts.sort_values("tag", key=lambda names: names.str.casefold(), ignore_index=True)
    lines = [] if name is None else [f"{changed:,} samples changed"]
    lines.append(output.columns(counts) if len(counts) else "no sample has a tag")
    rows = table.merge(opened.samples()[["sample", "path"]], on="sample") if len(table) else _none()
    result = {"run": opened.path.absolute(), "rows": rows, "tags": dict(zip(counts["tag"], counts["samples"].tolist()))}
    output.show("\n".join(lines), result | {"changed": changed}, as_json)


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=["sample", "tag", "reviewer", "at", "path"])
