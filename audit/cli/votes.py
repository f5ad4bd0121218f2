"""`lossprint votes`: annotators' votes on a run's samples, and what they come to."""

from pathlib import Path

import click

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command
from lossprint.audit.runs.open import open_run

FILE = "CSV: sample (id or path), annotator or labelling function, label or empty; replaces earlier votes"
SHOWN = 20


@click.command("votes", cls=Command)
@opt.run
@click.argument("file", type=opt.file, metavar="FILE", required=False, help=FILE)
@opt.flag("--skip-unknown", "leave out votes on samples and labels that RUN does not have")
@opt.out("FILE.csv", "write a row a sample with votes: consensus, its quality, majority", required=False)
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
