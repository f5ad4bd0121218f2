"""`lossprint audit`, `lossprint import` and `lossprint score`: what makes a run."""

import sys
from pathlib import Path

import click
from click import Choice

from lossprint.audit.cli import options as opt
from lossprint.audit.cli.command import Command, status_of
from lossprint.audit.datasets.tasks import TASKS
from lossprint.audit.findings import doubts, unjudged, views
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.system import processes
from lossprint.audit.types import LossprintError

SEEDS = 3
LINKS = 100  # listed, one a line
COMPARE = (
    "With --from CLEANED, what `lossprint export cleaned` wrote of the run RUN: train the run's network on the given, "
    "the cleaned and randomly thinned data, with equally many steps and S seeds each (default: 3), and add to RUN how "
    "accurate they are on held-out images. A comparison that was cut off goes on when it is asked for again. "
    "Of the other options only --seeds, --epochs, --device and --quiet go with it."
)
ELSEWHERE = (
    *("model", "weights", "download", "features", "seed", "curvature_checkpoints", "val_fraction", "folds", "rate"),
    *("precision", "compiled", "sync", "min_per_class", "allow_lost_classes", "follow_links", "normalise_labels"),
    *("allow_truncated", "max_pixels"),
    *("root", "path_column", "label_column", "exclude"),
)


@click.command("audit", cls=Command, epilog=COMPARE)
@click.argument("dataset", required=False, metavar="DATASET", help=f"{opt.DATASET}; not with --from")
@opt.out("RUN", "the run folder to write", type=opt.run_folder)
@opt.option("--from cleaned", opt.file, "CLEANED", "compare RUN before and after")
@opt.option("--model", str, "MODEL", opt.MODEL)
@opt.option("--weights", opt.file, "FILE", "of frozen:NAME, in place of the published ones")
@opt.flag("--download", "let torchvision fetch the weights of frozen:NAME", default=None)
@opt.option("--features", opt.file, "FILE", "features made elsewhere (npy, npz, Parquet); no --model")
@opt.option("--epochs", opt.positive, None, "default: 24; of frozen ones 30")
@opt.option("--seed", opt.seed, None, "default: 0")
@opt.device
@opt.option("--precision", Choice(opt.PRECISIONS), None, "of training and recording")
@opt.flag("--compile compiled", "use torch.compile", default=None)
@opt.curvature_checkpoints
@opt.val_fraction
@opt.choices
@opt.option("--seeds", opt.positive, "S", "trainings for a steadier label ranking; default: 1")
@opt.option("--folds", opt.folds, "K", "rank labels by K-fold out-of-sample losses")
@opt.option("--rate", opt.rate, "FPS", "of videos: frames to look at a second; default: 1")
@opt.resume
@opt.sync
@opt.quiet
def audit(
    dataset: str | None,
    out: Path,
    cleaned: Path | None,
    compiled: bool | None,
    download: bool | None,
    sync: str | None,
    **how,
) -> None:
    """Train a proxy, record every sample's loss, score and find."""
    if cleaned is not None:
        return _compare(dataset, out, cleaned, compiled=compiled, download=download, sync=sync, **how)
    if dataset is None:
        raise LossprintError("expected a DATASET, or --from CLEANED, found neither (see lossprint audit --help)")
    from lossprint.audit.runs.sync import syncing
    from lossprint.audit.workflow import audit as workflow

    say_links(dataset, how)
    with processes.joined(how["device"], status_of) as world, syncing(out, sync if world.rank == 0 else None):
        consent = _agreed if world.rank == 0 and sys.stdin.isatty() and sys.stderr.isatty() else None
        run = workflow.audit(dataset, out, compiled=bool(compiled), download=bool(download), consent=consent, **how)
        if world.rank == 0:
            print(summary(run))


def _agreed(question: str) -> bool:
    return click.confirm(question, default=False, err=True)


def say_links(dataset: str, choices: dict) -> None:
    """List on standard error which files outside DATASET links lead to, before any is read."""
    if not choices["follow_links"]:
        return
    from lossprint.audit.datasets import kinds
    from lossprint.audit.datasets.choices import Choices

    links = kinds.read_source(dataset, Choices.of(choices)).links
    for path, target in list(links.items())[:LINKS]:
        print(f"lossprint: follows the link {path} -> {target}", file=sys.stderr)
    if len(links) > LINKS:
        print(f"lossprint: follows {len(links) - LINKS:,} more links out of {dataset}", file=sys.stderr)


def _compare(dataset: str | None, out: Path, cleaned: Path, seeds: int | None, resume: bool, **how) -> None:
    """Train on the labels as given and as decided, and say which model is better."""
    other = [name for name in ELSEWHERE if how[name] is not None]
    if other:
        name = other[0].replace("compiled", "compile").replace("_", "-")
        raise LossprintError(f"expected no --{name} with --from, found one: it is that of the run {out}")
    from lossprint.audit.comparison import compare
    from lossprint.audit.comparison.summary import sentences
    from lossprint.audit.datasets import kinds

    run = open_run(out)
    source = run.manifest["dataset"].get("source")
    if dataset is not None and kinds.absolute(dataset) != source:
        raise LossprintError(f"expected no DATASET with --from, or {source} of {run.path}, found {dataset}")
    asked = {name: how[name] for name in ("epochs", "device", "quiet")}
    table = compare.compare(run, cleaned, seeds=seeds or SEEDS, **asked)
    print("\n".join([*sentences(table), f"see it: lossprint app {run.path}, page Before & after"]))


@click.command("import", cls=Command)
@click.argument("losses", type=opt.file, metavar="LOSSES", help="an npz, Parquet or CSV file")
@opt.dataset
@opt.out("RUN", type=opt.run_folder)
@opt.option("--task", Choice(TASKS), None, f"of what; default: {TASKS[0]}", default=TASKS[0])
@opt.choices
@opt.flag("--no-images", "the rows of DATASET, a manifest, have none: they are shown as text", default=None)
@opt.quiet
def import_losses(losses: Path, dataset: str, out: Path, task: str, quiet: bool, **choices) -> None:
    """Start from losses that you recorded yourself."""
    from lossprint.audit.workflow import import_losses as workflow

    say_links(dataset, choices)
    print(summary(workflow.import_losses(losses, dataset, out, quiet=quiet, task=task, **choices)))


@click.command("score", cls=Command)
@opt.run
@opt.option("--new", str, "MANIFEST", "new annotated videos for the networks of RUN to look at")
@opt.out("NEWRUN", "their run; default: RUN/new/ and the manifest's name", type=opt.run_folder, required=False)
@opt.option("--device", Choice(opt.DEVICES), None, "for --new", default="auto")
@opt.option("--engine", Choice(["local", "ray"]), None, "ray: by a cluster, for large runs", default="local")
@opt.option("--memory", opt.gigabytes, "GB", "of each process; default: half of what is free")
@opt.option("--workers", opt.positive, "N", "with --engine ray; default: one a CPU")
@opt.flag("--partial", "a recording that was cut off, to its last whole checkpoint")
@opt.quiet
def score(
    run: Path, new: str | None, out: Path | None, device: str, engine: str, memory, workers, partial: bool, quiet: bool
) -> None:
    """Score and find again from what is recorded; no training."""
    if new is not None:
        from lossprint.audit.workflow.newvideos import score_new

        print(summary(score_new(run, new, out or run / "new" / Path(new).stem, device, quiet)))
        return
    if out is not None:
        raise LossprintError("expected --out only beside --new MANIFEST: a run is scored where it is")
    from lossprint.audit.workflow import score as workflow

    print(summary(workflow.score(run, engine, None if memory is None else memory * 1e9, workers, quiet, partial)))


def summary(run: Run) -> str:
    """What was found, what could not be judged, and where to go from here."""
    counts, lacking = run.manifest["facts"]["find"].get("findings", {}), unjudged.sentences(run)
    nothing = "nothing suspicious among what could be judged" if lacking else "nothing suspicious"
    kinds = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items()) or nothing
    notes = run.manifest["dataset"].get("notes", [])
    doubted = doubts.sentences(run) if counts.get("label_error") else []
    lines = [*notes, *views.sentences(run), f"found: {kinds}", *doubted, *lacking]
    return "\n".join([*lines, f"see it: lossprint app {run.path}"])
