"""`lossprint verify`: what of a run is whole, what is missing or damaged, a line each."""

import sys
from pathlib import Path

import click
from tqdm import tqdm

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command
from lossprint.audit.runs import verify as check


@click.command("verify", cls=Command)
@opt.run
@opt.flag("--quick", "compare sizes and counts only; no content is read")
@opt.quiet
@output.as_json
def verify(run: Path, quick: bool, quiet: bool, as_json: bool) -> int:
    """Say what of a run is whole, missing or damaged; exit status 0 where it is whole, 2 where anything is missing,
    damaged or half written."""
    hidden = quiet or not sys.stderr.isatty()
    with tqdm(unit="B", unit_scale=True, desc="verify", disable=hidden, leave=False) as bar:
        report = check.verify(run, quick, bar.update)
    lines = [f"{line.word}: {line.where}: {line.text}" for line in report.lines]
    counts = ", ".join(f"{report.count(word):,} {word}" for word in check.WRONG)
    how = "by their sizes" if quick else f"by their checksums ({report.size / 1e6:,.1f} MB)"
    verdict = "whole" if report.whole else "not whole"
    lines.append(f"{run}: {verdict}; {report.compared:,} files compared {how}, {report.read:,} read; {counts}")
    sizes = {"compared": report.compared, "bytes": report.size, "read": report.read}
    told = [vars(line) for line in report.lines]
    output.show("\n".join(lines), {"run": run.absolute(), "whole": report.whole} | sizes | {"lines": told}, as_json)
    return 0 if report.whole else 2
