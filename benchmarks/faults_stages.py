"""The work of the processes that faults.py kills: each goes on where an earlier one was cut off, as a user would."""

import json
import os
from pathlib import Path

DECISIONS = 40  # in a trial
EXPORTS = {
    "coreset.csv": ["coreset", "--method", "csl_easy", "--fraction", "0.5"],
    "cleaned.csv": ["cleaned"],
    "cleaned.parquet": ["cleaned"],
    "tree": ["cleaned"],
    "findings.csv": ["findings"],
    "changes.csv": ["changes"],
    "cleanlab.csv": ["cleanlab"],
    "manifest.csv": ["manifest"],
    "tasks.json": ["labelstudio"],
}


def lossprint(*arguments) -> None:
    from lossprint.audit.cli.main import main

    status = main([str(one) for one in arguments])
    if status:
        raise RuntimeError(f"lossprint {arguments[0]} ended with {status}")


def whole(run: Path) -> None:
    lossprint("verify", run)


def audit(data: Path, run: Path) -> None:
    more = ["--resume"] if (run / "run.json").exists() else []
    lossprint("audit", data, "--out", run, "--epochs", 3, "--curvature-checkpoints", 2, "--quiet", *more)
    whole(run)


def loop(data: Path, run: Path) -> None:
    """A Recorder in a loop of one's own; the losses of an epoch are drawn by its number."""
    import numpy as np

    from lossprint.audit.recording.recorder import Recorder

    recorder = Recorder(run, data, resume=(run / "run.json").exists())
    ids = np.concatenate([recorder.ids("train"), recorder.ids("val")])
    for epoch in range(recorder.last + 1, 13):
        logits = np.random.default_rng(epoch).normal(size=(len(ids), len(recorder.run.classes)))
        losses = np.log(np.exp(logits).sum(1)) - logits[:, 0]
        for part in np.array_split(np.arange(len(ids)), 3):
            recorder.update(ids[part], losses[part], logits[part])
        recorder.end_checkpoint(epoch)
    if "record" not in recorder.run.stages:
        recorder.finish()
    lossprint("score", run, "--quiet")
    whole(run)


def back_to(stage: str, run: Path) -> None:
    """A run as it is before a stage, whose files are not there yet."""
    from lossprint.audit.runs import checksums
    from lossprint.audit.runs.open import open_run
    from lossprint.audit.runs.run import STAGES

    open_run(run).reopen(stage)
    for name in checksums.present(run):
        if STAGES.index(checksums.stage_of(name)) >= STAGES.index(stage):
            (run / name).unlink()


def export(run: Path, out: Path) -> None:
    for name, (kind, *more) in EXPORTS.items():
        if name == "tree" and (out / name / "export.json").exists():
            continue  # a folder is written once; it is whole where it is there
        lossprint("export", kind, run, "--out", out / name, *more)


def decide(run: Path, url: str | None, folder: Path) -> None:
    """Decide on one sample after the other; the number of each decision goes to a file once it is acknowledged."""
    from lossprint.audit.review.reviews import open_reviews
    from lossprint.audit.runs.open import open_run

    opened = open_run(run)
    samples = opened.samples()["sample"].tolist()
    handle = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with open_reviews(opened, url) as reviews:
        for number in range(len(acknowledged(folder)), DECISIONS):
            sample, token = samples[number % len(samples)], f"{folder.name}-{number}"
            row = reviews.add(
                finding=f"outlier:{sample}", sample=sample, decision="exclude", reviewer="ann", token=token
            )
            os.write(handle, f"{row.id} {token}\n".encode())


def acknowledged(folder: Path) -> list[tuple[int, str]]:
    file = folder / "acknowledged"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(int(number), token) for number, token in lines]


def stored(run: Path, url: str | None, folder: Path) -> None:
    """Write down what the database holds of this folder's decisions."""
    from lossprint.audit.review.reviews import open_reviews
    from lossprint.audit.runs.open import open_run

    with open_reviews(open_run(run), url) as reviews:
        rows = reviews.history()
    rows = rows[rows["token"].astype(str).str.startswith(f"{folder.name}-")]
    (folder / "stored").write_text(json.dumps(rows[["id", "token"]].values.tolist()))


def make_data(place: Path) -> None:
    """60 training and 15 validation images of 24 px, of three classes with a ramp and a colour each."""
    import numpy as np
    from PIL import Image

    random_ = np.random.default_rng(7)
    (place / "images").mkdir(parents=True)
    ramp, lines = np.linspace(0, 120, 24), ["path,label,split"]
    for number in range(75):
        label = number % 3
        shade = (ramp[:, None], ramp[None, :], (ramp[:, None] + ramp[None, :]) / 2)[label]
        pixels = np.broadcast_to(shade, (24, 24))[..., None] + random_.normal(60, 25, (24, 24, 3))
        pixels[..., label] += 40
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / "images" / f"{number:02d}.png")
        lines.append(f"images/{number:02d}.png,{'abc'[label]},{'val' if number >= 60 else 'train'}")
    (place / "labels.csv").write_text("\n".join(lines) + "\n")
