"""`lossprint sync`: a run copied to a URL, or from one."""

import click

from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command


@click.command("sync", cls=Command)
@click.argument("source", metavar="FROM", help="a RUN on this machine, or the URL of one")
@click.argument("target", metavar="TO", help="a URL, or a RUN on this machine")
@output.as_json
def sync(source: str, target: str, as_json: bool) -> None:
    """Copy a run to a URL (s3://, gs://, az://, ...) or from one; only what differs."""
    from lossprint.audit.runs import sync as runs

    copied = runs.sync(source, target)
    text = f"{copied.files:,} files ({copied.size / 1e6:,.1f} MB) copied to {target}, {copied.removed:,} removed"
    if copied.newer:
        names = ", ".join(copied.newer[:3]) + ", ..." * (len(copied.newer) > 3)
        text += f"\n{len(copied.newer):,} newer at {target}, which stay as they are: {names}"
    counts = {"files": copied.files, "bytes": copied.size, "removed": copied.removed, "newer": copied.newer}
    output.show(text, {"source": source, "target": target} | counts, as_json)
