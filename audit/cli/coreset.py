"""`lossprint export coreset`, `lossprint coreset evaluate` and `lossprint coreset apply`."""

import argparse
from pathlib import Path

from lossprint.audit.cli.arguments import natural, positive, run_folder, seed, share
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets.methods import FIRST, METHODS

COMPARED = ("random", "cld", "recommended")
ALL = f"All methods: {', '.join([*FIRST, *(name for name in METHODS if name not in FIRST)])}."
FRACTIONS = (0.01, 0.05, 0.1, 0.3, 0.5, 1.0)
CONSTRAINTS = ("equal", "at_least", "one_of_duplicates")


def add_export(exports, command) -> None:
    """Add `export coreset`."""
    coreset = command(exports, "coreset", _export, "a subset to train on: sample,path,label,score,rank")
    coreset.add_argument("run", type=run_folder, metavar="RUN")
    coreset.add_argument(
        "--method", metavar="M", help=f"{', '.join(FIRST)}, or another; measured: the best of an evaluation"
    )
    coreset.epilog = ALL
    budget = coreset.add_mutually_exclusive_group(required=True)
    budget.add_argument("--fraction", type=float, metavar="F", help="of the training samples, in proportion to classes")
    budget.add_argument("--per-class", type=positive, metavar="K", help="samples of each class")
    budget.add_argument("--number", type=positive, metavar="N", help="samples in all")
    budget.add_argument("--like", type=Path, metavar="FILE.csv", help="the same again, by the record FILE.csv.json")
    _constraints(coreset)
    coreset.add_argument("--seed", type=seed, help="default: 0")
    coreset.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="its record is FILE.csv.json")
    coreset.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE.csv",
        help="also the subset as a dataset, with val and test; in the dataset's folder or one above it",
    )


def add(kinds, command) -> None:
    """Add the commands under `coreset`."""
    evaluate = command(kinds, "evaluate", _evaluate, "train on coresets of several methods and sizes, and compare")
    evaluate.add_argument("run", type=run_folder, metavar="RUN")
    evaluate.add_argument(
        "--methods",
        nargs="+",
        default=list(COMPARED),
        metavar="M",
        help=f"{', '.join(FIRST)}, or others; all for all; default: {' '.join(COMPARED)}",
    )
    evaluate.epilog = ALL
    evaluate.add_argument(
        "--fractions", nargs="+", type=share, default=list(FRACTIONS), metavar="F", help="default: %(default)s"
    )
    evaluate.add_argument("--seeds", type=positive, default=3, metavar="S", help="trainings of each; default: 3")
    evaluate.add_argument("--model", metavar="OTHER", help="another network than the run's: does the choice transfer?")
    evaluate.add_argument("--steps", type=positive, metavar="N", help="of the optimizer, for all; default: the run's")
    evaluate.add_argument("--truth", metavar="FILE", help="path,true_label: tells how many wrong labels are kept")
    evaluate.add_argument("--jobs", type=positive, metavar="J", help="trainings side by side; default: one a CPU core")
    evaluate.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    evaluate.add_argument("--precision", choices=("auto", "float32", "bfloat16"), help="of the forward passes")
    evaluate.add_argument("--quiet", action="store_true", help="no progress bars")
    _constraints(evaluate)
    apply = command(kinds, "apply", _apply, "check that a coreset CSV fits a dataset")
    apply.add_argument("coreset", type=Path, metavar="CSV")
    apply.add_argument("--dataset", required=True, metavar="DATASET")


def _constraints(parser: argparse.ArgumentParser) -> None:
    yes = {"action": "store_true", "default": None}  # None: not given
    parser.add_argument("--equal", **yes, help="as many of each class, not in proportion to its size")
    parser.add_argument("--at-least", type=natural, metavar="M", help="of each class; default: 1")
    parser.add_argument("--one-of-duplicates", **yes, help="never both of a duplicate pair")


def _given(options, *names: str) -> dict:
    """Those of the options that were given."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _export(options) -> int:
    from lossprint.audit.coresets import coreset as coresets
    from lossprint.audit.export import applied, outfile
    from lossprint.audit.runs.open import open_run

    run = open_run(options.run)
    ask, like = _ask(options)
    ask, why = coresets.measured(run, ask)
    if options.manifest is not None:
        if options.manifest.resolve() == options.out.resolve():
            raise LossprintError(f"expected another file for --manifest than for --out, found {options.out} for both")
        coresets.reached(run, options.manifest)  # refused before anything is written
    source = coresets.source_of(applied.applied(run), (ask.method,))
    frame = coresets.write(run, source, ask, options.out, like)
    if why:
        print(why)
    print(f"{len(frame):,} samples chosen by {ask.method} written to {options.out}")
    print(f"how to make them again: {outfile.record_path(options.out)}")
    unscored = int(frame["score"].isna().sum())
    if unscored:
        print(f"{unscored:,} of them have no score of it and were taken last")
    if source.excluded or source.relabelled:
        print(f"decisions applied: {source.excluded:,} samples excluded, {source.relabelled:,} relabelled")
    if options.manifest is not None:
        coresets.write_manifest(source, frame, options.manifest, coresets.record_of(run, source, ask, frame))
        print(f"as a dataset, with the validation and test samples: {options.manifest}")
    return 0


def _ask(options):
    """What is asked for, in words or by the record of an earlier coreset; that record or None."""
    from lossprint.audit.coresets import coreset as coresets
    from lossprint.audit.export import outfile

    names = ("method", "fraction", "number", "per_class", "seed", *CONSTRAINTS)
    given = _given(options, *names)
    if options.like is None:
        if options.method is None:
            raise LossprintError("expected --method M, or --like FILE.csv, found neither")
        return coresets.Ask(**given), None
    if given:
        raise LossprintError(f"expected no --{next(iter(given)).replace('_', '-')} with --like, found one")
    csv = options.like.with_suffix("") if options.like.suffix == ".json" else options.like
    record = outfile.read_record(csv)
    if record is None:
        raise LossprintError(f"expected the record of a coreset, found none at {outfile.record_path(csv)}")
    return coresets.ask_of(record), record


def _evaluate(options) -> int:
    from lossprint.audit.coresets import coreset as coresets
    from lossprint.audit.coresets import evaluate
    from lossprint.audit.export import applied
    from lossprint.audit.runs.open import open_run

    run = open_run(options.run)
    methods = options.methods
    if methods == ["all"]:
        source = coresets.source_of(applied.applied(run))
        methods = [name for name in METHODS if not coresets.lacking(source, name)]
    names = ("seeds", "model", "steps", "truth", "jobs", "device", "precision", "quiet", *CONSTRAINTS)
    table = evaluate.evaluate(run, methods, sorted(set(options.fractions)), **_given(options, *names))
    print(evaluate.text(table))
    print(f"see it: lossprint app {run.path}, page Coreset")
    return 0


def _apply(options) -> int:
    from lossprint.audit.coresets import coreset as coresets

    fit = coresets.apply(options.coreset, options.dataset)
    counts = fit.samples["label"].value_counts()
    print(
        f"fits: {len(fit.samples):,} of {fit.of:,} training samples of {options.dataset}, {len(counts):,} classes, "
        f"{counts.min():,} to {counts.max():,} of each"
    )
    if fit.relabelled:
        print(f"{fit.relabelled:,} of them have another label than the dataset gives them")
    if fit.untouched is False:
        print("the file was changed after it was written: its record tells of other samples")
    if fit.fingerprint is False:
        print("the dataset has changed since: its paths, labels or splits are not all those of the run")
    return 0
