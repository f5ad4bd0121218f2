"""`lossprint sync`: a run copied to a URL, or from one; and --sync URL of the commands that make runs."""

import argparse

ABOUT = "copy a run to a URL (s3://, gs://, az://, ...) or from one; only what differs"


def add(commands, command) -> None:
    """Add sync to the subparsers of the program; `command` is main._command."""
    parser = command(commands, "sync", _sync, ABOUT)
    parser.add_argument("source", metavar="FROM", help="a RUN on this machine, or the URL of one")
    parser.add_argument("target", metavar="TO", help="a URL, or a RUN on this machine")


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add --sync URL."""
    parser.add_argument("--sync", metavar="URL", help="copy the run there after each finished stage")


def _sync(options) -> int:
    from lossprint.audit.runs.sync import sync

    copied = sync(options.source, options.target)
    print(
        f"{copied.files:,} files ({copied.size / 1e6:,.1f} MB) copied to {options.target}, {copied.removed:,} removed"
    )
    if copied.newer:
        names = ", ".join(copied.newer[:3]) + ", ..." * (len(copied.newer) > 3)
        print(f"{len(copied.newer):,} newer at {options.target}, which stay as they are: {names}")
    return 0
