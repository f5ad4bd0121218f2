"""`lossprint export`: what carries decisions out of a run; a coreset is chosen in `coreset`."""

from pathlib import Path

import click
from click import Choice

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Group
from lossprint.audit.cli.coreset import export_coreset
from lossprint.audit.recording.moved import opened
from lossprint.audit.runs.open import open_run


@click.group("export", cls=Group)
def export() -> None:
    """Write a coreset, the cleaned dataset or the findings."""


export.add_command(export_coreset)
_rule = opt.together(opt.rule, opt.unsure)


def _decisions(run: Path, apply: str, unsure: str, dataset: str | None = None):
    """The decisions of the run as they stand now: whatever is written follows from this one reading."""
    from lossprint.audit.export.applied import applied

    return applied(opened(run, dataset), apply=apply, unsure=unsure)


@export.command("cleaned")
@opt.run
@opt.out("FILE.csv|FILE.parquet|DIR")
@_rule
@opt.option("--link", Choice(["copy", "hardlink"]), None, "images of DIR; default: copy", default="copy")
@opt.placed
@opt.flag("--weight", "a column weight: less for undecided suspects, for trainings that weigh")
@opt.for_excel
@output.as_json
def cleaned(run: Path, out: Path, link: str, weight: bool, for_excel: bool, as_json: bool, **rule) -> None:
    """What the experts decided, applied to the labels."""
    from lossprint.audit.export.export import write_cleaned

    written = write_cleaned(_decisions(run, **rule), out, link=link, for_excel=for_excel, weight=weight)
    places = {"file": written.manifest.absolute(), "changes": written.changes.absolute()}
    result = {name: value for name, value in vars(written).items() if name != "manifest"} | places
    output.show(str(written), result, as_json)


@export.command("manifest")
@opt.run
@opt.out("FILE")
@_rule
@opt.placed
@output.as_json
def manifest(run: Path, out: Path, as_json: bool, **rule) -> None:
    """A corrected copy of the dataset's own manifest."""
    from lossprint.audit.export.manifests import write_manifest

    out, record = write_manifest(_decisions(run, **rule), out)
    moved = f"{record['reordered']:,} frames put elsewhere, " if record.get("reordered") else ""
    without = f"without {record['excluded']:,} rows"
    text = f"manifest with {record['relabelled']:,} corrected labels, {moved}{without} written to {out}"
    output.show(text, {"file": out.absolute(), "record": record}, as_json)


@export.command("changes")
@opt.run
@opt.out("FILE.csv|FILE.parquet")
@_rule
@opt.for_excel
@output.as_json
def changes(run: Path, out: Path, for_excel: bool, as_json: bool, **rule) -> None:
    """What was changed: old, new, who, when, why."""
    from lossprint.audit.export import export as exports

    table = exports.write_table(_decisions(run, **rule), exports.changes, out, for_excel)
    output.show(f"{len(table):,} changes written to {out}", {"file": out.absolute(), "rows": len(table)}, as_json)


@export.command("cleanlab")
@opt.run
@opt.out("FILE.csv|FILE.parquet")
@_rule
@opt.for_excel
@output.as_json
def cleanlab(run: Path, out: Path, for_excel: bool, as_json: bool, **rule) -> None:
    """Every sample as cleanlab tells it, with the decided label."""
    from lossprint.audit.export import export as exports

    table = exports.write_table(_decisions(run, **rule), exports.cleanlab, out, for_excel)
    issues = int(table["is_label_issue"].sum())
    text = f"{len(table):,} samples, {issues:,} of them label issues, written to {out}"
    output.show(text, {"file": out.absolute(), "rows": len(table), "label_issues": issues}, as_json)


@export.command("segments")
@opt.run
@opt.out("FILE.csv|FILE.parquet")
@_rule
@opt.placed
@opt.for_excel
@output.as_json
def segments(run: Path, out: Path, for_excel: bool, as_json: bool, **rule) -> None:
    """The videos as stretches of one label, as decided."""
    from lossprint.audit.export.export import write_segments

    count, order = write_segments(_decisions(run, **rule), out, for_excel)
    text = f"{count:,} segments written to {out}"
    if order is not None:
        text += f"\nframes that are to stand elsewhere are listed in {order}: the video files stay as they are"
    place = None if order is None else order.absolute()
    output.show(text, {"file": out.absolute(), "rows": count, "order": place}, as_json)


@export.command("coco")
@opt.run
@opt.out("FILE.json")
@_rule
@output.as_json
def coco(run: Path, out: Path, as_json: bool, **rule) -> None:
    """The dataset as decided, as a COCO file."""
    from lossprint.audit.export.coco import write_coco

    count = len(write_coco(_decisions(run, **rule), out))
    output.show(f"{count:,} images written to {out}", {"file": out.absolute(), "rows": count}, as_json)


@export.command("huggingface")
@opt.run
@opt.out("DIR")
@_rule
@output.as_json
def huggingface(run: Path, out: Path, as_json: bool, **rule) -> None:
    """The dataset as decided, as a folder that load_dataset reads."""
    from lossprint.audit.export.export import cleaned, weights
    from lossprint.audit.export.huggingface import write_folder

    decisions = _decisions(run, **rule)
    table = cleaned(decisions)
    splits = write_folder(decisions.run, table.assign(weight=weights(decisions, table)), out)
    words = ", ".join(f"{count:,} {name}" for name, count in splits.items())
    output.show(f"{words} samples written to {out}", {"file": out.absolute(), "splits": splits}, as_json)


@export.command("labelstudio")
@opt.run
@opt.out("FILE.json", "FILE.xml beside it: the interface")
@opt.option("--prefix", str, "URL", "before each path; default: /data/local-files/?d=")
@opt.placed
@output.as_json
def labelstudio(run: Path, out: Path, prefix: str | None, dataset: str | None, as_json: bool) -> None:
    """Flagged and reviewed samples as Label Studio tasks."""
    from lossprint.audit.export import labelstudio as tasks

    count, config = tasks.write_tasks(opened(run, dataset), out, prefix=tasks.LOCAL if prefix is None else prefix)
    text = f"{count:,} tasks written to {out}; their labeling interface is {config}"
    output.show(text, {"file": out.absolute(), "rows": count, "interface": Path(config).absolute()}, as_json)


@export.command("findings")
@opt.run
@opt.out("FILE.csv|FILE.parquet")
@opt.flag("--tags", "with a column of each sample's tags")
@opt.for_excel
@output.as_json
def findings(run: Path, out: Path, tags: bool, for_excel: bool, as_json: bool) -> None:
    """Every finding as a table."""
    from lossprint.audit.export import export as exports

    found = open_run(run)
    table = exports.findings(found, tags)
    exports.save(found, table, out, for_excel)
    count = table["group"].nunique()
    text = f"{count:,} findings ({len(table):,} rows) written to {out}"
    output.show(text, {"file": out.absolute(), "rows": len(table), "findings": count}, as_json)
