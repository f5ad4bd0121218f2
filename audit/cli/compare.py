"""`lossprint audit --from CLEANED`: train on the labels as given and as decided, and say which model is better."""

import argparse
from pathlib import Path

from lossprint.audit.types import LossprintError

SEEDS = 3
TEXT = (
    "With --from CLEANED, what `lossprint export cleaned` wrote of the run RUN: train the run's network on the given, "
    "the cleaned and randomly thinned data, with equally many steps and S seeds each (default: 3), and add to RUN how "
    "accurate they are on held-out images. A comparison that was cut off goes on when it is asked for again. "
    "Of the other options only --seeds, --epochs, --device and --quiet go with it."
)
ELSEWHERE = ("model", "seed", "curvature_checkpoints", "val_fraction", "folds", "rate", "precision", "compile", "sync")


def add(audit: argparse.ArgumentParser) -> None:
    """Add --from to the parser of `audit`, whose DATASET is then optional."""
    audit.epilog = TEXT
    audit.add_argument("--from", dest="cleaned", type=Path, metavar="CLEANED", help="compare RUN before and after")


def compare(options) -> int:
    """Called by `audit` where --from is given."""
    other = [name for name in ELSEWHERE if getattr(options, name) is not None]
    if other:
        raise LossprintError(
            f"expected no --{other[0].replace('_', '-')} with --from, found one: it is that of the run {options.out}"
        )
    from lossprint.audit.comparison import compare as loop
    from lossprint.audit.runs.open import open_run
    from lossprint.audit.workflow import audit as workflow

    run = open_run(options.out)
    source = run.manifest["dataset"].get("source")
    if options.dataset is not None and workflow.absolute(options.dataset) != source:
        raise LossprintError(f"expected no DATASET with --from, or {source} of {run.path}, found {options.dataset}")
    table = loop.compare(
        run,
        options.cleaned,
        seeds=options.seeds or SEEDS,
        epochs=options.epochs,
        device=options.device,
        quiet=options.quiet,
    )
    print("\n".join([*loop.sentences(table), f"see it: lossprint app {run.path}, page Before & after"]))
    return 0
