"""`lossprint findings`: what was found, on the screen or as JSON."""

from pathlib import Path

import click
import pandas as pd
from click import Choice

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command
from lossprint.audit.findings import limits, unjudged
from lossprint.audit.findings.table import findings_of
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import KINDS

SHOWN = ("kind", "rank", "severity", "sample", "label", "suggested_label", "path")


@click.command("findings", cls=Command)
@opt.run
@opt.option("--kind", Choice(KINDS), "KIND ...", f"of {', '.join(KINDS)}; default: all", multiple=True)
@opt.option("--top", opt.positive, "N", "the N most severe of each kind; default: all")
@opt.flag("--open undecided", "only those that no reviewer has decided on")
@output.both
def findings(run: Path, kind: tuple[str, ...], top: int | None, undecided: bool, as_json: bool, fail_on: tuple) -> int:
    """What was found, most severe first."""
    opened = open_run(run)
    table = findings_of(opened)
    if undecided:
        table = _undecided(opened, table)
    counts = table.drop_duplicates(["kind", "group"])["kind"].value_counts()
    found = {one: int(counts.get(one, 0)) for one in KINDS}
    over = limits.broken(opened, fail_on, found)
    table = table[table["kind"].isin(kind or KINDS)]
    if top is not None:
        order = table.groupby("kind", sort=False)["group"].transform(lambda groups: pd.factorize(groups)[0])
        table = table[order < top]
    shown = table[list(SHOWN)].assign(severity=table["severity"].map("{:.3f}".format))
    shown = shown.astype(object).where(shown.notna(), "")
    words = [output.columns(shown) if len(table) else "no findings", *unjudged.sentences(opened)]
    result = {"run": opened.path.absolute(), "rows": table, "findings": found}
    result["unjudged"] = opened.manifest["facts"].get("find", {}).get("unjudged")
    output.show("\n".join(words), result | output.failed(over, fail_on), as_json)
    return output.status(over)


def _undecided(run, table: pd.DataFrame) -> pd.DataFrame:
    from lossprint.audit.review.reviews import open_reviews

    with open_reviews(run) as reviews:
        history = reviews.history()
    return table[~table["group"].isin(history.loc[history["stands"], "finding"])]
