"""`lossprint audit`, `lossprint import` and `lossprint score`: what makes a run."""

import sys
from pathlib import Path

import click
from click import Choice

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command, status_of
from lossprint.audit.datasets.tasks import TASKS
from lossprint.audit.findings import doubts, unjudged, views
from lossprint.audit.recording.moved import opened
from lossprint.audit.review import wrong_labels
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
    *("allow_truncated", "max_pixels", "near_similarity"),
    *("root", "path_column", "label_column", "exclude", "group_by"),
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
@opt.option("--near-similarity", opt.fraction, "S", opt.NEAR_SIMILARITY)
@opt.resume
@opt.overwrite
@opt.sync
@opt.quiet
@output.both
def audit(
    dataset: str | None,
    out: Path,
    cleaned: Path | None,
    compiled: bool | None,
    download: bool | None,
    sync: str | None,
    overwrite: bool,
    as_json: bool,
    fail_on: tuple,
    **how,
) -> int:
    """Train a proxy, record every sample's loss, score and find."""
    if cleaned is not None:
        if fail_on or overwrite:
            name = "--fail-on" if fail_on else "--overwrite"
            raise LossprintError(f"expected no {name} with --from, found one: RUN is added to")
        how |= {"compiled": compiled, "download": download, "sync": sync}
        return _compare(dataset, out, cleaned, as_json=as_json, **how)
    if dataset is None:
        raise LossprintError("expected a DATASET, or --from CLEANED, found neither (see lossprint audit --help)")
    from lossprint.audit.runs.sync import syncing
    from lossprint.audit.workflow import audit as workflow
    from lossprint.audit.workflow import shelf

    say_links(dataset, how)
    refuse_overwrite(overwrite, how["resume"])
    with (
        processes.joined(how["device"], status_of) as world,
        shelf.replaced(out, overwrite),
        syncing(out, sync if world.rank == 0 else None),
    ):
        consent = _agreed if world.rank == 0 and sys.stdin.isatty() and sys.stderr.isatty() else None
        run = workflow.audit(dataset, out, compiled=bool(compiled), download=bool(download), consent=consent, **how)
        if world.rank == 0:
            return output.finish(run, summary(run), as_json, fail_on)
    return 0


def refuse_overwrite(overwrite: bool, resume: bool) -> None:
    """Raise LossprintError where a run is to be replaced and continued, or by several processes."""
    if overwrite and resume:
        raise LossprintError("expected one of --overwrite and --resume, found both")
    if overwrite and processes.launched():
        raise LossprintError("expected one process with --overwrite, found several: lossprint runs delete RUN first")


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
        output.tell(f"follows the link {path} -> {target}")
    if len(links) > LINKS:
        output.tell(f"follows {len(links) - LINKS:,} more links out of {dataset}")


def _compare(
    dataset: str | None, out: Path, cleaned: Path, seeds: int | None, resume: bool, as_json: bool, **how
) -> int:
    """Train on the labels as given and as decided, and say which model is better."""
    other = [name for name in ELSEWHERE if how[name] is not None]
    if other:
        name = other[0].replace("compiled", "compile").replace("_", "-")
        raise LossprintError(f"expected no --{name} with --from, found one: it is that of the run {out}")
    from lossprint.audit.comparison import compare
    from lossprint.audit.comparison.summary import sentences, summaries

    run = opened(out, dataset)
    asked = {name: how[name] for name in ("epochs", "device", "quiet")}
    table = compare.compare(run, cleaned, seeds=seeds or SEEDS, **asked)
    text = "\n".join([*sentences(table), f"see it: lossprint app {run.path}, page Before & after"])
    ways = [
        {"split": one.split, "labels": one.labels, "accuracy": one.accuracy.mean().to_dict(), "seeds": len(one.seeds)}
        | {"gain": {arm: vars(gain) for arm, gain in one.over.items()}}
        for one in summaries(table)
    ]
    output.show(text, {"run": run.path.absolute(), "ways": ways, "notes": sentences(table)}, as_json)
    return 0


@click.command("import", cls=Command)
@click.argument("losses", type=opt.file, metavar="LOSSES", help="an npz, Parquet or CSV file")
@opt.dataset
@opt.out("RUN", type=opt.run_folder)
@opt.option("--task", Choice(TASKS), None, f"of what; default: {TASKS[0]}", default=TASKS[0])
@opt.choices
@opt.overwrite
@opt.flag("--no-images", "the rows of DATASET, a manifest, have none: they are shown as text", default=None)
@opt.option("--votes", opt.file, "FILE", "annotators' votes on the samples: CSV of sample, annotator, label or empty")
@opt.quiet
@output.both
def import_losses(
    losses: Path,
    dataset: str,
    out: Path,
    task: str,
    overwrite: bool,
    votes: Path | None,
    quiet: bool,
    as_json: bool,
    fail_on: tuple,
    **choices,
) -> int:
    """Start from losses that you recorded yourself."""
    from lossprint.audit.workflow import import_losses as workflow
    from lossprint.audit.workflow import shelf

    say_links(dataset, choices)
    with shelf.replaced(out, overwrite):
        run = workflow.import_losses(losses, dataset, out, quiet=quiet, task=task, **choices)
        if votes is not None:
            from lossprint.audit.review import votes as counting
            from lossprint.audit.runs import beside

            beside.write_votes(run, counting.read_votes(run, votes).votes)
            counting.count(run)
    return output.finish(run, summary(run), as_json, fail_on)


@click.command("score", cls=Command)
@opt.run
@opt.option("--new", str, "MANIFEST", "new annotated videos for the networks of RUN to look at")
@opt.out("NEWRUN", "their run; default: RUN/new/ and the manifest's name", type=opt.run_folder, required=False)
@opt.option("--device", Choice(opt.DEVICES), None, "for --new", default="auto")
@opt.option("--engine", Choice(["local", "ray"]), None, "ray: by a cluster, for large runs", default="local")
@opt.option("--memory", opt.gigabytes, "GB", "of each process; default: half of what is free")
@opt.option("--workers", opt.positive, "N", "with --engine ray; default: one a CPU")
@opt.flag("--partial", "a recording that was cut off, to its last whole checkpoint")
@opt.option(
    "--responses", opt.file, "FILE", "losses of prompt/response pairs: CSV or Parquet of sample, loss, alone, tokens"
)
@opt.placed
@opt.quiet
@output.both
def score(
    run: Path,
    new: str | None,
    out: Path | None,
    device: str,
    engine: str,
    memory: float | None,
    workers: int | None,
    partial: bool,
    responses: Path | None,
    dataset: str | None,
    quiet: bool,
    as_json: bool,
    fail_on: tuple,
) -> int:
    """Score and find again from what is recorded; no training."""
    if new is not None:
        from lossprint.audit.workflow.newvideos import score_new

        scored = score_new(run, new, out or run / "new" / Path(new).stem, device, quiet)
        return output.finish(scored, summary(scored), as_json, fail_on)
    if out is not None:
        raise LossprintError("expected --out only beside --new MANIFEST: a run is scored where it is")
    from lossprint.audit.workflow import score as workflow

    bytes_each = None if memory is None else memory * 1e9
    scored = workflow.score(run, engine, bytes_each, workers, quiet, partial, dataset, responses)
    return output.finish(scored, summary(scored), as_json, fail_on)


def summary(run: Run) -> str:
    """What was found, what could not be judged, and where to go from here."""
    counts, lacking = run.manifest["facts"]["find"].get("findings", {}), unjudged.sentences(run)
    nothing = "nothing suspicious among what could be judged" if lacking else "nothing suspicious"
    kinds = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items()) or nothing
    notes = run.manifest["dataset"].get("notes", [])
    doubted = doubts.sentences(run) if counts.get("label_error") else []
    about = wrong_labels.wrong_labels(run) if counts.get("label_error") else None
    expected = [] if about is None else [wrong_labels.sentence(about)]
    lines = [*notes, *views.sentences(run), f"found: {kinds}", *expected, *doubted, *lacking]
    return "\n".join([*lines, f"see it: lossprint app {run.path}"])
