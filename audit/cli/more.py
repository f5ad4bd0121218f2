"""`lossprint more`: samples to ask about next, after a few."""

from pathlib import Path

import click

from lossprint.audit.cli import options as opt
from lossprint.audit.cli.command import Command
from lossprint.audit.runs.open import open_run

SHOWN = 20


@click.command("more", cls=Command)
@opt.run
@opt.option("--confusion", (str, str), "GIVEN CORRECTED", "more samples labelled GIVEN that look like CORRECTED")
@opt.option("--like", opt.samples, "A,B,...", "more that look like these samples, by their numbers")
@opt.option("--unlike", opt.samples, "C,D,...", "with --like: and not like these, which are fine", default=())
@opt.option("--number", opt.positive, "N", "how many; default: 50", default=50)
@opt.out("FILE.csv", "write them all there: rank,sample,path,label,value", required=False)
def more(run: Path, confusion: tuple | None, like: tuple | None, unlike: tuple, number: int, out: Path | None) -> None:
    """More samples of one confusion, or that look like a few."""
    if (confusion is None) == (like is None):
        raise click.UsageError(f"expected one of --confusion and --like, found {'none' if like is None else 'both'}")
    if unlike and like is None:
        raise click.UsageError("expected --unlike beside --like, found it beside --confusion")
    from lossprint.audit.export import outfile
    from lossprint.audit.findings import more as findings

    opened = open_run(run)
    if like is None:
        table = findings.of_confusion(opened, *confusion, number=number)
        given, corrected = confusion
        print(f"Labelled {given}, most like {corrected} first; value: log-odds, above 0 {corrected} fits better.")
    else:
        table = findings.like(opened, like, unlike, number=number)
        print("Most like the chosen samples first; value: likeness.")
    print(table.head(SHOWN).to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    if out is not None:
        outfile.save(opened, table, out)
        print(f"all {len(table):,} written to {out}")
    elif len(table) > SHOWN:
        print(f"and {len(table) - SHOWN:,} more: --out FILE.csv writes all")
