"""`lossprint findings`: what was found. `lossprint more`: samples to ask about next, after a few."""

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


@click.command("more", cls=Command)
@opt.run
@opt.option("--confusion", (str, str), "GIVEN CORRECTED", "more samples labelled GIVEN that look like CORRECTED")
@opt.option("--like", opt.samples, "A,B,...", "more that look like these samples, by their numbers")
@opt.option("--unlike", opt.samples, "C,D,...", "with --like: and not like these, which are fine", default=())
@opt.option("--number", opt.positive, "N", "how many; default: 50", default=50)
@opt.out("FILE.csv", "write them there as well: rank,sample,path,label,value", required=False)
@output.as_json
def more(run: Path, confusion, like, unlike, number: int, out: Path | None, as_json: bool) -> None:
    """More samples of one confusion, or that look like a few."""
    if (confusion is None) == (like is None):
        raise click.UsageError(f"expected one of --confusion and --like, found {'none' if like is None else 'both'}")
    if unlike and like is None:
        raise click.UsageError("expected --unlike beside --like, found it beside --confusion")
    from lossprint.audit.export import outfile
    from lossprint.audit.findings import more as ranking

    opened = open_run(run)
    if like is None:
        given, corrected = confusion
        table = ranking.of_confusion(opened, given, corrected, number=number)
        about = f"Labelled {given}, most like {corrected} first; value: log-odds, above 0 {corrected} fits better."
    else:
        table = ranking.like(opened, like, unlike, number=number)
        about = "Most like the chosen samples first; value: likeness, at most 1."
    if out is not None:
        outfile.save(opened, table, out)
        about += f" Written to {out}."
    shown = table.assign(value=table["value"].map("{:.2f}".format))
    result = {"run": opened.path.absolute(), "rows": table, "out": out}
    output.show(f"{about}\n{output.columns(shown) if len(table) else 'none is left'}", result, as_json)
