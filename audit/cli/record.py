"""`lossprint record`: an audit of a training that is over, from the checkpoints that it left.

`lossprint repair`: a trained model and the samples that people have verified, without a training.
"""

from pathlib import Path

import click

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.audit import refuse_overwrite, say_links, summary
from lossprint.audit.cli.command import Command

TEXT = (
    "The network at each checkpoint looks at every image; weights are loaded, nothing in a checkpoint is run. "
    "MODULE:FUNCTION of yours is imported, from here or the installed packages, and called with the number of classes "
    "if it takes it. It returns a torch.nn.Module, or a pair (module, transform), where transform makes the module's "
    "input of a PIL image. Without a transform, --size, --mean and --std must be as they were in training: the losses "
    "depend on them. A run that was cut off goes on with --resume, as does one to which checkpoints were added."
)


_ORDER = opt.option("--classes", opt.file, "FILE", "class names as the logits have them; else sorted")
_ONE_OF = opt.option("--weights", str, "NAME", "of several in a checkpoint, such as ema")
_SEEN = opt.together(
    opt.option("--size", opt.positive, "PX", "side of the images; default: their median, at most 224"),
    opt.option("--mean", opt.means, "R,G,B", "mean of the channels, in [0, 1]; default: the training split's"),
    opt.option("--std", opt.deviations, "R,G,B", "deviation of the channels, in [0, 1]; default: the training split's"),
)


@click.command("record", cls=Command, epilog=TEXT)
@opt.option(
    "--checkpoints",
    opt.file,
    "DIR",
    "*.safetensors, *.pt, *.pth, *.ckpt, *.bin, or folders such as checkpoint-500",
    required=True,
)
@opt.option("--model", str, "MODULE:FUNCTION", "or small, or a torchvision classifier", required=True)
@opt.dataset
@opt.out("RUN", "the run folder to write", type=opt.run_folder)
@_SEEN
@opt.option("--batch", opt.positive, "B", "images at a time; default: 64, more on a GPU")
@opt.device
@_ORDER
@_ONE_OF
@opt.curvature_checkpoints
@opt.val_fraction
@opt.choices
@opt.resume
@opt.overwrite
@opt.sync
@opt.quiet
@output.both
def record(
    checkpoints: Path,
    model: str,
    dataset: str,
    out: Path,
    sync: str | None,
    overwrite: bool,
    as_json: bool,
    fail_on: tuple,
    **how,
) -> int:
    """Record the losses at checkpoints that a training left, score, find."""
    from lossprint.audit.runs.sync import syncing
    from lossprint.audit.workflow import from_checkpoints, shelf

    def say(line: str) -> None:
        output.tell(line)

    say_links(dataset, how)
    refuse_overwrite(overwrite, how["resume"])
    with shelf.replaced(out, overwrite), syncing(out, sync):
        run = from_checkpoints.record(checkpoints, model, dataset, out, say=say, **how)
    return output.finish(run, summary(run), as_json, fail_on)


REPAIR = (
    "MODEL is `own`, the network or head that RUN has, or a file of weights (safetensors, or what torch.save wrote of "
    "a state_dict) for what --network builds; nothing in it is run, and it is never changed. Training samples whose "
    "label a reviewer has confirmed or put right are trusted. Held-out samples choose the strength, others judge."
)


@click.command("repair", cls=Command, epilog=REPAIR)
@click.argument("model", metavar="MODEL", help="own, or a file of weights")
@opt.option("--run", opt.run_folder, "RUN", "the audit of what it was trained on, with decisions", required=True)
@opt.option("--network", str, "MODULE:FUNCTION", "what MODEL has the weights of, or small, or a torchvision classifier")
@_SEEN
@_ORDER
@_ONE_OF
@opt.option("--epochs", opt.positive, "E", "of retraining beside it; default: those of RUN, or 24")
@opt.rule
@opt.out(
    "FILE.safetensors", "the repaired weights, a new file; default: beside MODEL, or in RUN/exports", required=False
)
@opt.device
@opt.placed
@opt.quiet
@output.as_json
def repair(model: str, run: Path, apply: str, dataset: str | None, as_json: bool, **how) -> None:
    """Repair a trained model with verified samples, beside fine-tuning and retraining."""
    from lossprint.audit.recording import moved
    from lossprint.audit.repair import repair as repairing

    result = repairing.repair(moved.opened(run, dataset), model, rule=apply, **how)
    lines = [*result["notes"], *result["sentences"]]
    if result["weights"]:
        lines.append(f"written: {result['weights']} and what it is: {result['weights']}.json")
    lines.append(f"see it: lossprint app {result['run']}, page Before & after")
    output.show("\n".join(lines), result, as_json)
