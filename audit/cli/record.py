"""`lossprint record`: an audit of a training that is over, from the checkpoints that it left."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from lossprint.audit.cli import sync
from lossprint.audit.cli.arguments import fraction, natural, positive, run_folder

TEXT = (
    "The network at each checkpoint looks at every image; weights are loaded, nothing in a checkpoint is run. "
    "MODULE:FUNCTION of yours is imported, from here or the installed packages, and called with the number of classes "
    "if it takes it. It returns a torch.nn.Module, or a pair (module, transform), where transform makes the module's "
    "input of a PIL image. Without a transform, --size, --mean and --std must be as they were in training: the losses "
    "depend on them. A run that was cut off goes on with --resume, as does one to which checkpoints were added."
)


def add(commands, command, dataset: str, summary: Callable) -> None:
    """Add record to the subparsers of the program: `command` is cli._command, `dataset` says what a DATASET is."""
    record = command(commands, "record", _record, "record the losses at checkpoints that a training left, score, find")
    record.epilog = TEXT
    record.set_defaults(summary=summary)
    record.add_argument(
        "--checkpoints",
        type=Path,
        required=True,
        metavar="DIR",
        help="*.safetensors, *.pt, *.pth, *.ckpt, *.bin, or folders such as checkpoint-500",
    )
    record.add_argument(
        "--model", required=True, metavar="MODULE:FUNCTION", help="or small, or a torchvision classifier"
    )
    record.add_argument("--dataset", required=True, metavar="DATASET", help=dataset)
    record.add_argument("--out", type=run_folder, required=True, metavar="RUN", help="the run folder to write")
    record.add_argument(
        "--size", type=positive, metavar="PX", help="side of the images; default: their median, at most 224"
    )
    for name, what in (("mean", "mean"), ("std", "deviation")):
        record.add_argument(
            f"--{name}",
            type=_positive_channels if name == "std" else _channels,
            metavar="R,G,B",
            help=f"{what} of the channels, in [0, 1]; default: the training split's",
        )
    record.add_argument("--batch", type=positive, metavar="B", help="images at a time; default: 64, more on a GPU")
    record.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    record.add_argument("--classes", type=Path, metavar="FILE", help="class names as the logits have them; else sorted")
    record.add_argument("--weights", metavar="NAME", help="of several in a checkpoint, such as ema")
    record.add_argument("--curvature-checkpoints", type=natural, metavar="K", help="default: 10; 0 measures none")
    record.add_argument("--val-fraction", type=fraction, metavar="F", help="drawn from train without a val split; 0.1")
    record.add_argument("--resume", action="store_true", help="continue a run that was cut off")
    sync.add_option(record)
    record.add_argument("--quiet", action="store_true", help="no progress bars")


def _channels(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) == 1:
        values *= 3
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):
        raise argparse.ArgumentTypeError(
            f"expected three numbers from 0 to 1, such as 0.485,0.456,0.406, found {text!r}"
        )
    return values


def _positive_channels(text: str) -> tuple[float, ...]:
    values = _channels(text)
    if min(values) <= 0:
        raise argparse.ArgumentTypeError(f"expected three numbers over 0, found {text!r}")
    return values


def _record(options) -> int:
    from lossprint.audit.runs.sync import syncing
    from lossprint.audit.workflow.from_checkpoints import record

    with syncing(options.out, options.sync):
        run = record(
            options.checkpoints,
            options.model,
            options.dataset,
            options.out,
            size=options.size,
            mean=options.mean,
            std=options.std,
            batch=options.batch,
            device=options.device,
            val_fraction=options.val_fraction,
            curvature_checkpoints=options.curvature_checkpoints,
            classes=options.classes,
            weights=options.weights,
            resume=options.resume,
            quiet=options.quiet,
            say=lambda line: print(f"lossprint: {line}", file=sys.stderr),
        )
    print(options.summary(run))
    return 0
