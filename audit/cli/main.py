"""The command line: parse, one call, known errors as one line on standard error.

Exit status: 0 done, 2 wrong use or bad input, 1 anything else. Heavy modules are imported late.
"""

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path

from lossprint.audit.cli import compare as cli_loop
from lossprint.audit.cli import coreset as cli_coreset  # heavy modules are imported by their calls
from lossprint.audit.cli import export as cli_export
from lossprint.audit.cli import record as cli_record
from lossprint.audit.cli import report as cli_report
from lossprint.audit.cli import reviews as cli_reviewers
from lossprint.audit.cli import sync, verify
from lossprint.audit.cli.arguments import (
    folds,
    fraction,
    gigabytes,
    natural,
    positive,
    rate,
    run_folder,
    seed,
)
from lossprint.audit.datasets.tasks import TASKS
from lossprint.audit.system import processes
from lossprint.audit.types import LossprintError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # the name of a file need not be text
            stream.reconfigure(errors="backslashreplace")
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return options.call(options) or 0
    except (LossprintError, KeyboardInterrupt, OSError) as error:
        return _told(error)


def _told(error: BaseException) -> int:
    """Say in one line what went wrong; the exit status. What is no known error is raised again."""
    if isinstance(error, LossprintError):
        print(f"lossprint: {error}", file=sys.stderr)
        return 2
    if isinstance(error, KeyboardInterrupt):
        print("lossprint: stopped; what is recorded is kept", file=sys.stderr)
        return 1
    if isinstance(error, BrokenPipeError):
        return 1
    if isinstance(error, OSError):  # a place that cannot be read or written, a full disk
        print(f"lossprint: expected files that can be read and written, found: {error}", file=sys.stderr)
        return 1 if error.errno == errno.ENOSPC else 2
    raise error


class _Parser(argparse.ArgumentParser):
    """argparse, but wrong use is one line: what was wrong and where to look."""

    def error(self, message: str):
        self.exit(2, f"lossprint: {message} (see {self.prog} --help)\n" if processes.leading() else None)


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lossprint", description="Audit an image classification dataset by its loss trajectories.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    demo = _command(commands, "demo", _demo, "audit the embedded dataset, then open the app on it")
    demo.add_argument("--video", action="store_true", help="made-up videos with planted errors instead, in RUN-frames")
    demo.add_argument(
        "--out", type=run_folder, metavar="RUN", help="default: lossprint-demo, with --video lossprint-video"
    )
    demo.add_argument("--no-app", action="store_true", help="only audit")
    _server(demo)

    audit = _command(commands, "audit", _audit, "train a proxy, record every sample's loss, score and find")
    audit.add_argument("dataset", metavar="DATASET", nargs="?", help=f"{DATASET}; not with --from")
    audit.add_argument("--out", type=run_folder, required=True, metavar="RUN", help="the run folder to write")
    cli_loop.add(audit)
    audit.add_argument("--model", help="small (the default) or a torchvision classifier, such as resnet18")
    audit.add_argument("--epochs", type=positive, help="default: 24")
    audit.add_argument("--seed", type=seed, help="default: 0")
    audit.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    audit.add_argument("--precision", choices=("auto", "float32", "bfloat16"), help="of training and recording")
    audit.add_argument("--compile", action="store_true", default=None, help="use torch.compile")
    audit.add_argument("--curvature-checkpoints", type=natural, metavar="K", help="default: 10; 0 measures none")
    audit.add_argument("--val-fraction", type=fraction, metavar="F", help="drawn from train without a val split; 0.1")
    audit.add_argument("--seeds", type=positive, metavar="S", help="trainings for a steadier label ranking; default: 1")
    audit.add_argument("--folds", type=folds, metavar="K", help="rank labels by K-fold out-of-sample losses")
    audit.add_argument("--rate", type=rate, metavar="FPS", help="of videos: frames to look at a second; default: 1")
    audit.add_argument("--resume", action="store_true", help="continue a run that was cut off")
    sync.add_option(audit)
    audit.add_argument("--quiet", action="store_true", help="no progress bars")

    imported = _command(commands, "import", _import, "start from losses that you recorded yourself")
    imported.add_argument("losses", type=Path, metavar="LOSSES", help="an npz, Parquet or CSV file")
    imported.add_argument("--dataset", required=True, metavar="DATASET", help=DATASET)
    imported.add_argument("--out", type=run_folder, required=True, metavar="RUN")
    imported.add_argument("--task", choices=TASKS, default=TASKS[0], help="of what; default: %(default)s")
    imported.add_argument("--quiet", action="store_true", help="no progress bars")

    cli_record.add(commands, _command, DATASET, _summary)
    score = _command(commands, "score", _score, "score and find again from what is recorded; no training")
    score.add_argument("run", type=run_folder, metavar="RUN")
    score.add_argument(
        "--new",
        metavar="MANIFEST",
        help="new annotated videos for the networks of RUN to look at",
    )
    score.add_argument(
        "--out", type=run_folder, metavar="NEWRUN", help="their run; default: RUN/new/ and the manifest's name"
    )
    score.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="for --new")
    score.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: by a cluster, for large runs")
    score.add_argument("--memory", type=gigabytes, metavar="GB", help="of each process; default: half of what is free")
    score.add_argument("--workers", type=positive, metavar="N", help="with --engine ray; default: one a CPU")
    score.add_argument("--quiet", action="store_true", help="no progress bars")

    app = _command(commands, "app", _app, "open the dashboard on a run or a folder of runs")
    app.add_argument("run", type=run_folder, metavar="RUN_OR_FOLDER")
    _server(app)

    export = commands.add_parser("export", help="write a coreset, the cleaned dataset or the findings", parents=[])
    exports = export.add_subparsers(required=True, metavar="WHAT", parser_class=_Parser)
    cli_coreset.add_export(exports, _command)
    cleaned = _command(exports, "cleaned", cli_export.cleaned, "what the experts decided, applied to the labels")
    cleaned.add_argument("run", type=run_folder, metavar="RUN")
    cleaned.add_argument("--out", type=Path, required=True, metavar="FILE.csv|FILE.parquet|DIR")
    cli_export.add_rule(cleaned, link=True)
    cli_export.add_exports(exports, _command)
    findings = _command(exports, "findings", _export_findings, "every finding as a CSV")
    findings.add_argument("run", type=run_folder, metavar="RUN")
    findings.add_argument("--out", type=Path, required=True, metavar="FILE.csv")

    coresets = commands.add_parser("coreset", help="compare coresets by training on them; check that one fits")
    cli_coreset.add(coresets.add_subparsers(required=True, metavar="WHAT", parser_class=_Parser), _command)
    cli_report.add(commands, _command)
    verify.add(commands, _command)
    sync.add(commands, _command)
    reviews = commands.add_parser("reviews", help="share the review out, see how far it is, bring decisions in")
    kinds = reviews.add_subparsers(required=True, metavar="WHAT", parser_class=_Parser)
    cli_reviewers.add(kinds, _command)
    cli_export.add_import(kinds, _command)
    return parser


DATASET = (
    "a folder of class folders, a CSV or Parquet manifest (path,label[,split][,sequence,frame]), "
    "a COCO file (.json), WebDataset shards (a .tar, a quoted pattern such as 'shards-{000..009}.tar' or a folder of "
    "them), hf:PLACE[:KEY=VALUE] (a dataset of Hugging Face, saved or on the hub), "
    "torchvision:NAME:ROOT or, for audit, a CSV of segments of the videos beside it (sequence,start,end,label[,split])"
)


def _command(commands, name: str, call, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(call=call)
    return parser


def _server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="default: %(default)s, this machine only")
    parser.add_argument("--port", type=positive, default=8501, metavar="P", help="default: %(default)s")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    parser.add_argument(
        "--roles", type=Path, metavar="FILE", help="with a login: who may see, decide, export; or LOSSPRINT_ROLES"
    )
    parser.add_argument(
        "--secrets", type=Path, metavar="FILE", help="the login; default: .streamlit/secrets.toml, if there is one"
    )
    parser.add_argument("--insecure", action="store_true", help="no login, even where others can reach the server")


class _Version(argparse.Action):
    """Looked up only when it is asked for."""

    def __call__(self, parser, *_):
        from lossprint.audit.runs.open import version

        print(f"lossprint {version()}")
        parser.exit()


# ---------------------------------------------------------------------------------------------- one call each


def _demo(options) -> int:
    out = options.out or Path("lossprint-video" if options.video else "lossprint-demo")
    if not options.no_app:  # what would refuse to start is said before the training, not after it
        refused = subprocess.run([*_server_command(out, options), "--check"]).returncode
        if refused:
            return refused
    from lossprint.audit.workflow.audit import audit_demo, audit_video_demo

    run = (audit_video_demo if options.video else audit_demo)(out)
    print(_summary(run))
    return 0 if options.no_app else _serve(run.path, options)


def _audit(options) -> int:
    if options.cleaned is not None:
        return cli_loop.compare(options)
    if options.dataset is None:
        raise LossprintError("expected a DATASET, or --from CLEANED, found neither (see lossprint audit --help)")
    from lossprint.audit.runs.sync import syncing
    from lossprint.audit.workflow.audit import audit

    with (
        processes.joined(options.device, _told) as world,
        syncing(options.out, options.sync if world.rank == 0 else None),
    ):
        run = audit(
            options.dataset,
            options.out,
            model=options.model,
            epochs=options.epochs,
            seed=options.seed,
            device=options.device,
            curvature_checkpoints=options.curvature_checkpoints,
            val_fraction=options.val_fraction,
            seeds=options.seeds,
            folds=options.folds,
            rate=options.rate,
            precision=options.precision,
            compiled=bool(options.compile),
            resume=options.resume,
            quiet=options.quiet,
        )
        if world.rank == 0:
            print(_summary(run))
    return 0


def _import(options) -> int:
    from lossprint.audit.workflow.audit import import_losses

    run = import_losses(options.losses, options.dataset, options.out, quiet=options.quiet, task=options.task)
    print(_summary(run))
    return 0


def _score(options) -> int:
    if options.new is not None:
        from lossprint.audit.workflow.newvideos import score_new

        out = options.out or options.run / "new" / Path(options.new).stem
        print(_summary(score_new(options.run, options.new, out, options.device, options.quiet)))
        return 0
    if options.out is not None:
        raise LossprintError("expected --out only beside --new MANIFEST: a run is scored where it is")
    from lossprint.audit.workflow.audit import score

    memory = None if options.memory is None else options.memory * 1e9
    print(_summary(score(options.run, options.engine, memory, options.workers, options.quiet)))
    return 0


def _app(options) -> int:
    from lossprint.audit.runs.open import list_runs, open_run

    if (options.run / "run.json").is_file():
        open_run(options.run)  # one that cannot be shown is refused here, not in the browser
    elif not list_runs(options.run):
        raise LossprintError(f"expected a run folder or a folder of runs, found no run.json in {options.run}")
    return _serve(options.run, options)


def _server_command(path: Path, options) -> list[str]:
    command = [sys.executable, "-m", "lossprint.app.serve", str(path), "--host", options.host]
    command += ["--port", str(options.port)] + ["--no-browser"] * options.no_browser + ["--insecure"] * options.insecure
    for name in ("roles", "secrets"):
        command += [f"--{name}", str(getattr(options, name))] * (getattr(options, name) is not None)
    return command


def _serve(path: Path, options) -> int:
    command = _server_command(path, options)
    # A program of its own: the workflow never imports the app, and the server starts without torch in memory. It takes
    # this process's place, so that whoever ends `lossprint app` ends the server.
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    try:
        return subprocess.call(command)
    except KeyboardInterrupt:
        return 0


def _export_findings(options) -> int:
    from lossprint.audit.export import export
    from lossprint.audit.runs.open import open_run

    run = open_run(options.run)
    frame = export.findings(run)
    export.save(run, frame, options.out)
    print(f"{frame['group'].nunique():,} findings ({len(frame):,} rows) written to {options.out}")
    return 0


def _summary(run) -> str:
    """What was found and where to go from here."""
    found = run.manifest["facts"]["find"].get("findings", {})
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in found.items()) or "nothing suspicious"
    lines = [*run.manifest["dataset"].get("notes", []), f"found: {counts}", f"see it: lossprint app {run.path}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
