"""`lossprint report`: what an audit found and what was decided, as one HTML file."""

from pathlib import Path

from lossprint.audit.cli.arguments import run_folder
from lossprint.audit.cli.export import RULE


def add(commands, command) -> None:
    """Add report to the subparsers of the program; `command` is cli._command."""
    parser = command(commands, "report", _report, "one HTML file: what was audited, found, decided, and what is left")
    parser.add_argument("run", type=run_folder, metavar="RUN")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.html", help="print it from a browser for a PDF"
    )
    parser.add_argument("--apply", default="latest", metavar="RULE", help=RULE)


def _report(options) -> int:
    from lossprint.audit.report import page as report
    from lossprint.audit.runs.open import open_run

    out = report.write_report(open_run(options.run), options.out, rule=options.apply)
    print(f"report written to {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0
