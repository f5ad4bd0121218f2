"""`lossprint export coreset`, `lossprint coreset evaluate` and `lossprint coreset apply`."""

from pathlib import Path

import click
from click import Choice

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command, Group
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.methods import FIRST, METHODS

COMPARED = ("random", "cld", "recommended")
ALL = f"All methods: {', '.join([*FIRST, *(name for name in METHODS if name not in FIRST)])}."
FRACTIONS = (0.01, 0.05, 0.1, 0.3, 0.5, 1.0)
BUDGETS = ("fraction", "per_class", "number", "like")


@click.command("coreset", cls=Command, epilog=ALL)
@opt.run
@opt.option("--method", str, "M", f"{', '.join(FIRST)}, or another; measured: the best of an evaluation")
@opt.option("--fraction", opt.number, "F", "of the training samples, in proportion to classes")
@opt.option("--per-class", opt.positive, "K", "samples of each class")
@opt.option("--number", opt.positive, "N", "samples in all")
@opt.option("--like", opt.file, "FILE.csv", "the same again, by the record FILE.csv.json")
@opt.constraints
@opt.option("--seed", opt.seed, None, "default: 0")
@opt.out("FILE.csv|FILE.parquet", "its record is FILE.csv.json")
@opt.option(
    "--manifest",
    opt.file,
    "FILE.csv|FILE.parquet",
    "also the subset as a dataset, with val and test; in the dataset's folder or one above it",
)
@opt.for_excel
@output.as_json
def export_coreset(run: Path, out: Path, manifest: Path | None, for_excel: bool, as_json: bool, **wishes) -> None:
    """A subset to train on: sample,path,label,score,rank."""
    from lossprint.audit.coresets import coreset as coresets
    from lossprint.audit.coresets.shortfall import short_words
    from lossprint.audit.export import applied, outfile

    wishes = {name: wish for name, wish in wishes.items() if wish is not None}
    budgets = [f"--{name.replace('_', '-')}" for name in BUDGETS if name in wishes]
    if len(budgets) != 1:
        known = ", ".join(f"--{name.replace('_', '-')}" for name in BUDGETS)
        raise click.UsageError(f"expected one of {known}, found {' and '.join(budgets) or 'none'}")
    opened = open_run(run)
    ask, record = _ask(**wishes)
    ask, why = coresets.measured(opened, ask)
    if manifest is not None:
        if manifest.resolve() == out.resolve():
            raise LossprintError(f"expected another file for --manifest than for --out, found {out} for both")
        coresets.reached(opened, manifest)  # refused before anything is written
    source = coresets.source_of(applied.applied(opened), (ask.method,))
    table = coresets.write(opened, source, ask, out, record, for_excel)
    record = coresets.record_of(opened, source, ask, table)
    for sentence in short_words(source.table, ask, table):
        output.tell(sentence)
    said = [why] if why else []
    said.append(f"{len(table):,} samples chosen by {ask.method} written to {out}")
    said.append(f"how to make them again: {outfile.record_path(out)}")
    unscored = int(table["score"].isna().sum())
    if unscored:
        said.append(f"{unscored:,} of them have no score of it and were taken last")
    if source.excluded or source.relabelled:
        said.append(f"decisions applied: {source.excluded:,} samples excluded, {source.relabelled:,} relabelled")
    if manifest is not None:
        coresets.write_manifest(source, table, manifest, record)
        said.append(f"as a dataset, with the validation and test samples: {manifest}")
    files = {"file": out.absolute(), "manifest": None if manifest is None else manifest.absolute()}
    output.show("\n".join(said), files | {"rows": len(table), "unscored": unscored, "record": record}, as_json)


def _ask(like: Path | None = None, **wishes):
    """What is asked for, in words or by the record of an earlier coreset; that record or None."""
    from lossprint.audit.coresets import coreset as coresets
    from lossprint.audit.export import outfile

    if like is None:
        if "method" not in wishes:
            raise LossprintError("expected --method M, or --like FILE.csv, found neither")
        return coresets.Ask(**wishes), None
    if wishes:
        raise LossprintError(f"expected no --{next(iter(wishes)).replace('_', '-')} with --like, found one")
    csv = like.with_suffix("") if like.suffix == ".json" else like
    record = outfile.read_record(csv)
    if record is None:
        raise LossprintError(f"expected the record of a coreset, found none at {outfile.record_path(csv)}")
    return coresets.ask_of(record), record


@click.group("coreset", cls=Group)
def coreset() -> None:
    """Compare coresets by training on them; check that one fits."""


@coreset.command("evaluate", epilog=ALL)
@opt.run
@opt.option(
    "--methods",
    str,
    "M ...",
    f"{', '.join(FIRST)}, or others; all for all; default: {' '.join(COMPARED)}",
    multiple=True,
    default=COMPARED,
)
@opt.option(
    "--fractions", opt.share, "F ...", f"default: {' '.join(map(str, FRACTIONS))}", multiple=True, default=FRACTIONS
)
@opt.option("--seeds", opt.positive, "S", "trainings of each; default: 3", default=3)
@opt.option("--model", str, "OTHER", "another network than the run's: does the choice transfer?")
@opt.option("--steps", opt.positive, "N", "of the optimizer, for all; default: the run's")
@opt.option("--truth", str, "FILE", "path,true_label: tells how many wrong labels are kept")
@opt.option("--jobs", opt.positive, "J", "trainings side by side; default: one a CPU core")
@opt.device
@opt.option("--precision", Choice(opt.PRECISIONS), None, "of the forward passes")
@opt.quiet
@opt.placed
@opt.constraints
@output.as_json
def evaluate(
    run: Path, methods: tuple[str, ...], fractions: tuple[float, ...], dataset: str | None, as_json: bool, **how
) -> None:
    """Train on coresets of several methods and sizes, and compare."""
    from lossprint.audit.coresets import coreset as coresets
    from lossprint.audit.coresets import evaluate as evaluation
    from lossprint.audit.export.applied import applied
    from lossprint.audit.recording import moved

    opened = moved.opened(run, dataset)
    if methods == ("all",):
        source = coresets.source_of(applied(opened))
        methods = [name for name in METHODS if not coresets.lacking(source, name)]
    asked = {name: value for name, value in how.items() if value is not None}
    table = evaluation.evaluate(opened, list(methods), sorted(set(fractions)), **asked)
    text = f"{evaluation.text(table)}\nsee it: lossprint app {opened.path}, page Coreset"
    output.show(text, {"run": opened.path.absolute(), "rows": table}, as_json)


@coreset.command("apply")
@click.argument("csv", type=opt.file, metavar="FILE", help="FILE.csv or FILE.parquet")
@opt.option("--dataset", str, "DATASET", required=True)
@output.as_json
def apply(csv: Path, dataset: str, as_json: bool) -> None:
    """Check that a coreset fits a dataset."""
    from lossprint.audit.coresets import coreset as coresets

    fit = coresets.apply(csv, dataset)
    counts = fit.samples["label"].value_counts()
    said = [
        f"fits: {len(fit.samples):,} of {fit.of:,} training samples of {dataset}, {len(counts):,} classes, "
        f"{counts.min():,} to {counts.max():,} of each"
    ]
    if fit.relabelled:
        said.append(f"{fit.relabelled:,} of them have another label than the dataset gives them")
    if fit.untouched is False:
        said.append("the file was changed after it was written: its record tells of other samples")
    if fit.fingerprint is False:
        said.append("the dataset has changed since: its paths, labels or splits are not all those of the run")
    same = {"untouched": fit.untouched, "same_dataset": fit.fingerprint}
    numbers = {"rows": len(fit.samples), "of": fit.of, "classes": counts.to_dict(), "relabelled": fit.relabelled}
    output.show("\n".join(said), {"file": csv.absolute(), "dataset": dataset} | numbers | same, as_json)
