"""`lossprint reviews`: who is asked what, how far everybody is, and decisions made elsewhere brought in; `tags`.

`lossprint votes`: several annotators' votes, and what they come to.
"""

from pathlib import Path

import click
import pandas as pd
from click import Choice

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command, Group
from lossprint.audit.review import assigning, resolve
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError

VOTES = "CSV: sample (id or path), annotator or labelling function, label or empty; replaces earlier votes"
SHOWN = 20  # samples whose votes are said


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
@output.as_json
def assign(run: Path, reviewers: str, overlap: int, share: float | None, kind: str, as_json: bool, **how) -> None:
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
        shared=share,
        **how,
    )
    decisions.assign(plan.pairs)
    text = output.columns(plan.loads.rename(columns={"done": "answered", "open": "to answer"}))
    if plan.withdrawn:
        text += f"\n{plan.withdrawn:,} open questions were taken from who had them; what is answered stays"
    result = {"run": opened.path.absolute(), "rows": plan.loads, "withdrawn": plan.withdrawn}
    output.show(text, result, as_json)


@reviews.command("status")
@opt.run
@output.as_json
def status(run: Path, as_json: bool) -> None:
    """Who has answered how much, and how far they agree."""
    from lossprint.audit.review.reviews import open_reviews

    opened = open_run(run)
    decisions = open_reviews(opened)
    history = decisions.history()
    labels = opened.samples().set_index("sample")["label"]
    table, agreement = assigning.status(history, decisions.assignments(), opened.findings(), labels)
    table = table[["reviewer", "assigned", "decided", "left", "besides", "agreement", "differs"]]
    apart = resolve.disagreements(history, labels)
    settled = int(apart["adjudicated"].sum())
    numbers = {"shared": len(agreement.samples), "disagreements": len(apart), "settled": settled}
    result = {"run": opened.path.absolute(), "rows": table} | numbers | {"notes": agreement.words}
    if table.empty:
        output.show("nobody has been assigned anything, and nobody has decided anything", result, as_json)
        return
    shown = table.assign(agreement=[f"{100 * rate:.0f} %" if rate == rate else "-" for rate in table["agreement"]])
    shown = shown.rename(columns={"besides": "decided besides", "differs": "open disagreements"})
    pairs = f"{len(agreement.samples):,} samples answered by two or more"
    words = f"{pairs}; {len(apart):,} disagreements, {settled:,} settled"
    output.show("\n".join([output.columns(shown), words, *agreement.words]), result, as_json)


@reviews.command("import")
@opt.run
@click.argument("file", type=opt.file, metavar="FILE", help="Label Studio JSON, or CSV with path and label")
@opt.option("--reviewer", str, "NAME", "who decided, where the file names nobody")
@opt.flag("--new-classes", "labels that the dataset does not have become classes, of a CSV too")
@output.as_json
def import_decisions(run: Path, file: Path, reviewer: str | None, new_classes: bool, as_json: bool) -> None:
    """Store decisions made in another tool; all of a file, or none."""
    from lossprint.audit.export.exchange import import_file

    plan = import_file(open_run(run), file, reviewer, new_classes=new_classes)
    numbers = {"rows": plan.rows, "known": plan.known, "nothing": plan.nothing, "decisions": plan.counts}
    numbers |= {"new_classes": list(plan.new_classes)}
    output.show(f"stored: {plan}", {"file": file.absolute()} | numbers | {"reviewers": plan.reviewers}, as_json)


@reviews.command("undo")
@opt.run
@opt.option("--reviewer", str, "NAME", "whose decisions", required=True)
@opt.option("--last", opt.positive, "N", "the latest N that stand; default: 1")
@opt.option("--finding", str, "NAME", "those on one finding, such as label_error:17")
@output.as_json
def undo(run: Path, reviewer: str, last: int | None, finding: str | None, as_json: bool) -> None:
    """Take a reviewer's decisions back; they stay in the history."""
    from lossprint.audit.review.reviews import open_reviews

    if last is not None and finding is not None:
        raise click.UsageError("expected one of --last and --finding, found both")
    opened = open_run(run)
    with open_reviews(opened) as decisions:
        history = decisions.history()
        mine = history[history["stands"] & (history["reviewer"] == reviewer.strip())]
        rows = mine.tail(last or 1) if finding is None else mine[mine["finding"] == finding]
        if rows.empty:
            known = ", ".join(sorted(set(history.loc[history["stands"], "reviewer"].astype(str)))) or "nobody"
            what = f"of {reviewer!r}" + f" on {finding}" * (finding is not None)
            raise LossprintError(f"expected a decision {what} that stands, found none; there are some of {known}")
        taken = {one.undoes for one in decisions.undo_ids(reviewer, rows["id"].tolist())}
    rows = rows[rows["id"].isin(taken)][["finding", "sample", "decision", "new_label", "at"]]
    words = [f"taken back: {row.decision} of {row.finding}, sample {row.sample}" for row in rows.itertuples()]
    output.show("\n".join(words), {"run": opened.path.absolute(), "rows": rows}, as_json)


@click.command("votes", cls=Command)
@opt.run
@click.argument("file", type=opt.file, metavar="FILE", required=False, help=VOTES)
@opt.flag("--skip-unknown", "leave out votes on samples and labels that RUN does not have")
@opt.out("FILE.csv|FILE.parquet", "write a row a sample with votes: consensus, its quality, majority", required=False)
@output.as_json
def votes(run: Path, file: Path | None, skip_unknown: bool, out: Path | None, as_json: bool) -> None:
    """Count annotators' votes, and the reviewers': consensus, and how good each is."""
    from lossprint.audit.export import outfile
    from lossprint.audit.review import votes as counting
    from lossprint.audit.runs import beside

    opened = open_run(run)
    notes: list[str] = []
    if file is not None:
        read = counting.read_votes(opened, file, skip_unknown)
        notes = read.notes
        beside.write_votes(opened, read.votes)
    counted = counting.count(opened)
    table = counted.consensus
    if out is not None:
        outfile.save(opened, table, out)
    differ = table[table["consensus"] != table["label"]].sort_values("quality", ascending=False, kind="stable")
    shown = counted.annotators.drop(columns=["shared", "overlap", "few"])
    for name in shown.columns[2:]:
        shown[name] = ["-" if one != one else f"{100 * one:.0f} %" for one in shown[name]]
    lines = [*notes, *counted.notes, output.columns(shown.rename(columns={"with_consensus": "with consensus"}))]
    lines.append(f"{len(table):,} samples with votes; the consensus differs from the given label of {len(differ):,}")
    lines += [f"sample {row.sample}: {counting.evidence(row)}" for row in differ.head(SHOWN).itertuples()]
    lines.append(f"see it: lossprint app {opened.path}, page Annotators")
    result = {"run": opened.path.absolute(), "annotators": counted.annotators, "samples": len(table)}
    result |= {"rows": differ, "out": out, "notes": [*notes, *counted.notes]}
    output.show("\n".join(lines), result, as_json)


@click.command("tags", cls=Command)
@opt.run
@opt.option("--add", str, "NAME", "put this tag on the samples")
@opt.option("--remove", str, "NAME", "take this tag off the samples")
@opt.option("--samples", opt.samples, "A,B,...", "by their numbers", default=())
@opt.option("--reviewer", str, "NAME", "who does, with --add and --remove")
@output.as_json
def tags(run: Path, add: str | None, remove: str | None, samples: tuple, reviewer: str | None, as_json: bool) -> None:
    """Which tags there are, on how many samples; or put one on, or take it off."""
    from lossprint.audit.review.marks import open_marks

    if add is not None and remove is not None:
        raise click.UsageError("expected one of --add and --remove, found both")
    name = remove if add is None else add
    if (name is None) != (not samples) or (name is None) != (reviewer is None):
        raise click.UsageError("expected --samples and --reviewer beside --add or --remove, and only there")
    opened = open_run(run)
    with open_marks(opened) as marks:
        changed = 0
        if name is not None:
            step = marks.tag(name, samples, reviewer, remove=add is None)
            changed = 0 if step is None else len(step.samples)
        table = marks.table()
    counts = table.groupby("tag", sort=False).agg(samples=("sample", "size"), latest=("at", "max")).reset_index()
    counts = counts.sort_values("tag", key=lambda names: names.str.casefold(), ignore_index=True)
    lines = [] if name is None else [f"{changed:,} samples changed"]
    lines.append(output.columns(counts) if len(counts) else "no sample has a tag")
    rows = table.merge(opened.samples()[["sample", "path"]], on="sample") if len(table) else _no_tags()
    result = {"run": opened.path.absolute(), "rows": rows, "tags": dict(zip(counts["tag"], counts["samples"].tolist()))}
    output.show("\n".join(lines), result | {"changed": changed}, as_json)


def _no_tags() -> pd.DataFrame:
    return pd.DataFrame(columns=["sample", "tag", "reviewer", "at", "path"])
