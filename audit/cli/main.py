"""The command line: parse, one call, known errors as one line on standard error.

Exit status: 0 done, 2 wrong use or bad input, 3 over a limit of --fail-on, 1 anything else. What imports torch or a
database is imported by the calls, so that help and a wrong option cost no seconds.
"""

import sys

import click

from lossprint.audit.cli import (
    app,
    audit,
    coreset,
    export,
    findings,
    record,
    report,
    reviews,
    runs,
    sync,
    verify,
)
from lossprint.audit.cli.command import Group, status_of, usage_line
from lossprint.audit.system import processes
from lossprint.audit.types import LossprintError


class _Program(Group):
    def invoke(self, ctx: click.Context) -> int | None:
        try:
            return super().invoke(ctx)
        except (LossprintError, KeyboardInterrupt, OSError) as error:
            return status_of(error)


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from lossprint.audit.runs.open import version

        print(f"lossprint {version()}")
        ctx.exit()


@click.group("lossprint", cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="print the version and leave",
)
def program() -> None:
    """Audit an image classification dataset by its loss trajectories."""


_MAKING = (app.demo, audit.audit, audit.import_losses, record.record, audit.score)
_READING = (
    *(app.app, findings.findings, export.export, coreset.coreset, report.report, verify.verify, sync.sync),
    *(findings.more, findings.check, findings.exposure, findings.memorization, record.repair),
    *(reviews.votes, reviews.reviews, reviews.tags, runs.runs),
)
for _command in (*_MAKING, *_READING):
    program.add_command(_command)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # the name of a file need not be text
            stream.reconfigure(errors="backslashreplace")
    try:
        status = program.main(arguments, prog_name="lossprint", standalone_mode=False, windows_expand_args=False)
    except click.ClickException as error:
        if processes.leading():
            print(f"lossprint: {usage_line(error)}", file=sys.stderr)
        return 2
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
