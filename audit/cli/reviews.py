"""`lossprint reviews assign` and `lossprint reviews status`: who is asked what, and how far everybody is."""

import sys

from lossprint.audit.cli.arguments import positive, run_folder, seed, share
from lossprint.audit.types import LossprintError

QUEUES = ("labels", "duplicates", "outliers", "video", "all")  # those of assigning.QUEUES, which is imported late


def add(reviews, command) -> None:
    """Add both to the subparsers of `reviews`; `command` is cli._command."""
    assign = command(reviews, "assign", _assign, "share a queue out among reviewers")
    assign.add_argument("run", type=run_folder, metavar="RUN")
    assign.add_argument("--reviewers", required=True, metavar="A,B,...", help="their names, with commas between them")
    assign.add_argument("--overlap", type=positive, default=1, metavar="N", help="reviewers a finding; default: 1")
    assign.add_argument(
        "--share",
        type=share,
        metavar="F",
        help="give only this share of the findings to N reviewers, and the rest to one; default: all of them",
    )
    assign.add_argument("--queue", choices=QUEUES, default="all", help="default: %(default)s")
    assign.add_argument("--seed", type=seed, default=0, metavar="S", help="of who gets what; default: 0")
    assign.add_argument(
        "--extend", action="store_true", help="whoever has a question keeps it; deal out only what is missing"
    )
    status = command(reviews, "status", _status, "who has answered how much, and how far they agree")
    status.add_argument("run", type=run_folder, metavar="RUN")


def _assign(options) -> int:
    from lossprint.audit.review import assigning
    from lossprint.audit.review.reviews import open_reviews
    from lossprint.audit.runs.open import open_run

    run = open_run(options.run)
    kept = open_reviews(run)
    queue = assigning.queue(run.findings(), options.queue)
    if queue.empty:
        raise LossprintError(f"expected findings in the queue {options.queue}, found none in {options.run}")
    planned = assigning.plan(
        queue,
        options.reviewers.split(","),
        kept.history(),
        kept.assignments(),
        overlap=options.overlap,
        seed=options.seed,
        shared=options.share,
        extend=options.extend,
    )
    kept.assign(planned.pairs)
    print(_table(planned.loads.rename(columns={"done": "answered", "open": "to answer"})))
    if planned.withdrawn:
        print(f"{planned.withdrawn:,} open questions were taken from who had them; what is answered stays")
    return 0


def _status(options) -> int:
    from lossprint.audit.review import assigning, resolve
    from lossprint.audit.review.reviews import open_reviews
    from lossprint.audit.runs.open import open_run

    run = open_run(options.run)
    kept = open_reviews(run)
    history = kept.history()
    given = run.samples().set_index("sample")["label"]
    table, found = assigning.status(history, kept.assignments(), run.findings(), given)
    if table.empty:
        print("nobody has been assigned anything, and nobody has decided anything")
        return 0
    shown = table[["reviewer", "assigned", "decided", "left", "besides", "agreement", "differs"]].copy()
    shown["agreement"] = [f"{100 * one:.0f} %" if one == one else "-" for one in shown["agreement"]]
    print(_table(shown.rename(columns={"besides": "decided besides", "differs": "open disagreements"})))
    apart = resolve.disagreements(history, given)
    settled = int(apart["adjudicated"].sum())
    print(f"{len(found.samples):,} samples answered by two or more; {len(apart):,} disagreements, {settled:,} settled")
    print("\n".join(found.words))
    return 0


def _table(frame) -> str:
    """Columns under each other, numbers to the right; a name is one line, whatever is in it."""
    cells = [[*map(str, frame.columns)], *([_plain(one) for one in row] for row in frame.itertuples(index=False))]
    width = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(wide) if at == 0 else cell.rjust(wide) for at, (cell, wide) in enumerate(zip(row, width)))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _plain(value: object) -> str:
    if isinstance(value, str):
        kept = "".join(one if one.isprintable() else "?" for one in value)
        return kept.encode(sys.stdout.encoding or "utf-8", "replace").decode(sys.stdout.encoding or "utf-8")
    return f"{value:,}"
