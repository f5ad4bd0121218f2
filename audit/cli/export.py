"""Commands that carry decisions out of a run and into it: the further exports, and `reviews import`."""

import argparse
from pathlib import Path

from lossprint.audit.cli.arguments import run_folder

RULE = "whose decisions hold: latest (the default), majority, settled, adjudicated or reviewer:NAME"


def add_exports(exports, command) -> None:
    """Add manifest, changes, labelstudio and cleanlab to the subparsers of `export`; `command` is cli._command."""
    manifest = command(exports, "manifest", _manifest, "a corrected copy of the dataset's own manifest")
    changes = command(exports, "changes", _changes, "what was changed: old, new, who, when, why")
    cleanlab = command(exports, "cleanlab", _cleanlab, "every sample as cleanlab tells it, with the decided label")
    segments = command(exports, "segments", _segments, "the videos as stretches of one label, as decided")
    for parser, name in ((segments, "FILE.csv"), (manifest, "FILE"), (changes, "FILE.csv"), (cleanlab, "FILE.csv")):
        parser.add_argument("run", type=run_folder, metavar="RUN")
        parser.add_argument("--out", type=Path, required=True, metavar=name)
        add_rule(parser)
    tasks = command(exports, "labelstudio", _labelstudio, "flagged and reviewed samples as Label Studio tasks")
    tasks.add_argument("run", type=run_folder, metavar="RUN")
    tasks.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="FILE.xml beside it: the interface")
    tasks.add_argument("--prefix", default=None, metavar="URL", help="before each path; default: /data/local-files/?d=")


def add_rule(parser: argparse.ArgumentParser, *, link: bool = False) -> None:
    """Add --apply and --unsure, and with `link` also --link, to a command that applies decisions."""
    parser.add_argument("--apply", default="latest", metavar="RULE", help=RULE)
    parser.add_argument("--unsure", choices=("keep", "drop"), default="keep", help="samples left unsure; default: keep")
    if link:
        parser.add_argument("--link", choices=("copy", "hardlink"), default="copy", help="images of DIR; default: copy")


def add_import(reviews, command) -> None:
    """Add import to the subparsers of `reviews`."""
    parser = command(reviews, "import", _import, "store decisions made in another tool; all of a file, or none")
    parser.add_argument("run", type=run_folder, metavar="RUN")
    parser.add_argument("file", type=Path, metavar="FILE", help="Label Studio JSON, or CSV with path and label")
    parser.add_argument("--reviewer", default=None, metavar="NAME", help="who decided, where the file names nobody")


def cleaned(options) -> int:
    """`export cleaned`, with the options of `add_rule`."""
    from lossprint.audit.export import export

    print(export.write_cleaned(_decisions(options), options.out, link=options.link))
    return 0


def _decisions(options):
    """The decisions of the run as they stand now, by the options of `add_rule`: whatever is written follows from it."""
    from lossprint.audit.export import applied
    from lossprint.audit.runs.open import open_run

    return applied.applied(open_run(options.run), apply=options.apply, unsure=options.unsure)


def _manifest(options) -> int:
    from lossprint.audit.export import manifests

    out, record = manifests.write_manifest(_decisions(options), options.out)
    moved = f"{record['reordered']:,} frames put elsewhere, " if record.get("reordered") else ""
    without = f"without {record['excluded']:,} rows"
    print(f"manifest with {record['relabelled']:,} corrected labels, {moved}{without} written to {out}")
    return 0


def _segments(options) -> int:
    from lossprint.audit.export import export

    count, order = export.write_segments(_decisions(options), options.out)
    print(f"{count:,} segments written to {options.out}")
    if order is not None:
        print(f"frames that are to stand elsewhere are listed in {order}: the video files stay as they are")
    return 0


def _changes(options) -> int:
    from lossprint.audit.export import export

    frame = export.write_table(_decisions(options), export.changes, options.out)
    print(f"{len(frame):,} changes written to {options.out}")
    return 0


def _cleanlab(options) -> int:
    from lossprint.audit.export import export

    frame = export.write_table(_decisions(options), export.cleanlab, options.out)
    print(
        f"{len(frame):,} samples, {int(frame['is_label_issue'].sum()):,} of them label issues, written to {options.out}"
    )
    return 0


def _labelstudio(options) -> int:
    from lossprint.audit.export import labelstudio
    from lossprint.audit.runs.open import open_run

    prefix = labelstudio.LOCAL if options.prefix is None else options.prefix
    count, config = labelstudio.write_tasks(open_run(options.run), options.out, prefix=prefix)
    print(f"{count:,} tasks written to {options.out}; their labeling interface is {config}")
    return 0


def _import(options) -> int:
    from lossprint.audit.export import exchange
    from lossprint.audit.runs.open import open_run

    print(f"stored: {exchange.import_file(open_run(options.run), options.file, options.reviewer)}")
    return 0
