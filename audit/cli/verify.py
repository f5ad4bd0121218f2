"""`lossprint verify`: what of a run is whole, what is missing or damaged, a line each."""

import sys

from lossprint.audit.cli.arguments import run_folder

ABOUT = (
    "say what of a run is whole, missing or damaged; exit status 0 where it is whole, 2 where anything is missing, "
    "damaged or half written"
)


def add(commands, command) -> None:
    """Add verify to the subparsers of the program; `command` is cli._command."""
    parser = command(commands, "verify", _verify, ABOUT)
    parser.add_argument("run", type=run_folder, metavar="RUN")
    parser.add_argument("--quick", action="store_true", help="compare sizes and counts only; no content is read")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _verify(options) -> int:
    from tqdm import tqdm

    from lossprint.audit.runs.verify import WRONG, verify

    hidden = options.quiet or not sys.stderr.isatty()
    with tqdm(unit="B", unit_scale=True, desc="verify", disable=hidden, leave=False) as bar:
        found = verify(options.run, options.quick, bar.update)
    for line in found.lines:
        print(f"{line.word}: {line.where}: {line.text}")
    counts = ", ".join(f"{found.count(word):,} {word}" for word in WRONG)
    how = "by their sizes" if options.quick else f"by their checksums ({found.size / 1e6:,.1f} MB)"
    verdict = "whole" if found.whole else "not whole"
    print(f"{options.run}: {verdict}; {found.compared:,} files compared {how}, {found.read:,} read; {counts}")
    return 0 if found.whole else 2
