"""`lossprint reviews`: who is asked what, how far everybody is, and decisions made elsewhere brought in."""

import sys
from pathlib import Path

import click
from click import Choice

from lossprint.audit.cli import options as opt
from lossprint.audit.cli.command import Group
from lossprint.audit.review import assigning, resolve
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError


@click.group("reviews", cls=Group)
def reviews() -> None:
    """Share the review out, see how far it is, bring decisions in."""


@reviews.command("assign")
@opt.run
@opt.option("--reviewers", str, "A,B,...", "their names, with commas between them", required=True)
@opt.option("--overlap", opt.positive, "N", "reviewers a finding; default: 1", default=1)
@opt.option(
    "--share",
    opt.share,
    "F",
    "give only this share of the findings to N reviewers, and the rest to one; default: all of them",
)
@opt.option("--queue kind", Choice(list(assigning.QUEUES)), None, "default: all", default="all")
@opt.option("--seed", opt.seed, "S", "of who gets what; default: 0", default=0)
@opt.flag("--extend", "whoever has a question keeps it; deal out only what is missing")
def assign(run: Path, reviewers: str, overlap: int, share: float | None, kind: str, seed: int, extend: bool) -> None:
    """Share a queue out among reviewers."""
    from lossprint.audit.review.reviews import open_reviews

    opened = open_run(run)
    decisions = open_reviews(opened)
    queue = assigning.queue(opened.findings(), kind)
    if queue.empty:
        raise LossprintError(f"expected findings in the queue {kind}, found none in {run}")
    plan = assigning.plan(
        queue,
        reviewers.split(","),
        decisions.history(),
        decisions.assignments(),
        overlap=overlap,
        seed=seed,
        shared=share,
        extend=extend,
    )
    decisions.assign(plan.pairs)
    print(_table(plan.loads.rename(columns={"done": "answered", "open": "to answer"})))
    if plan.withdrawn:
        print(f"{plan.withdrawn:,} open questions were taken from who had them; what is answered stays")


@reviews.command("status")
@opt.run
def status(run: Path) -> None:
    """Who has answered how much, and how far they agree."""
    from lossprint.audit.review.reviews import open_reviews

    opened = open_run(run)
    decisions = open_reviews(opened)
    history = decisions.history()
    labels = opened.samples().set_index("sample")["label"]
    table, agreement = assigning.status(history, decisions.assignments(), opened.findings(), labels)
    if table.empty:
        print("nobody has been assigned anything, and nobody has decided anything")
        return
    table = table[["reviewer", "assigned", "decided", "left", "besides", "agreement", "differs"]].copy()
    table["agreement"] = [f"{100 * rate:.0f} %" if rate == rate else "-" for rate in table["agreement"]]
    print(_table(table.rename(columns={"besides": "decided besides", "differs": "open disagreements"})))
    apart = resolve.disagreements(history, labels)
    pairs = f"{len(agreement.samples):,} samples answered by two or more"
    print(f"{pairs}; {len(apart):,} disagreements, {int(apart['adjudicated'].sum()):,} settled")
    print("\n".join(agreement.words))


@reviews.command("import")
@opt.run
@click.argument("file", type=opt.file, metavar="FILE", help="Label Studio JSON, or CSV with path and label")
@opt.option("--reviewer", str, "NAME", "who decided, where the file names nobody")
def import_decisions(run: Path, file: Path, reviewer: str | None) -> None:
    """Store decisions made in another tool; all of a file, or none."""
    from lossprint.audit.export.exchange import import_file

    print(f"stored: {import_file(open_run(run), file, reviewer)}")


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
