"""`lossprint report`: what an audit found and what was decided, as one HTML file."""

from pathlib import Path

import click

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command
from lossprint.audit.recording.moved import opened


@click.command("report", cls=Command)
@opt.run
@opt.out("FILE.html", "print it from a browser for a PDF")
@opt.rule
@opt.placed
@output.as_json
def report(run: Path, out: Path, apply: str, dataset: str | None, as_json: bool) -> None:
    """One HTML file: what was audited, found, decided, and what is left."""
    from lossprint.audit.report.write import write_report

    out = write_report(opened(run, dataset), out, rule=apply)
    size = out.stat().st_size
    output.show(f"report written to {out} ({size / 1e6:.1f} MB)", {"file": out.absolute(), "bytes": size}, as_json)
