"""A whole run of made-up videos without training: what networks would say is made up from the truth, with noise.

Everything after that is real: the spans are found, the findings written, the images lie in the dataset's folder.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.run import Run
from lossprint.audit.video import temporal, timeline
from lossprint.audit.workflow import demo_videos


def make_video_run(folder: Path, sequences: int = 8, length: int = 110, seed: int = 3) -> tuple[Run, demo_videos.Truth]:
    """FOLDER/data with one error of each kind of `demo_videos.ERRORS`, and FOLDER/run, its run; the truth."""
    kinds = len(demo_videos.ERRORS)
    data = folder / "data"
    truth = demo_videos.make_videos(data, sequences=sequences, length=length, damaged=kinds / sequences, seed=seed)
    dataset = open_dataset(str(truth.manifest))
    samples = dataset.samples
    random = np.random.default_rng(seed)
    classes = list(dataset.classes)
    true = truth.frames["true_label"].map(classes.index).to_numpy()
    given = samples["label"].map(classes.index).to_numpy()
    logits = random.normal(size=(len(samples), len(classes)))
    logits[np.arange(len(samples)), true] += 4
    recorder = Recorder(folder / "run", dataset, asked={"dataset": str(truth.manifest.absolute())})
    recorded = samples["split"].isin(("train", "val")).to_numpy()
    for checkpoint in (1, 2, 3):
        now = logits * checkpoint / 3
        losses = np.log(np.exp(now).sum(1)) - now[np.arange(len(given)), given]
        recorder.update(samples["sample"].to_numpy()[recorded], losses[recorded], now[recorded])
        recorder.end_checkpoint(checkpoint)
    run = recorder.finish()
    frame = samples["frame"].to_numpy(np.int64)
    where = timeline.rows_of(samples["sequence"].to_numpy(str), frame, samples["split"].to_numpy(str), frame * 0)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    pictures = np.stack([np.asarray(Image.open(data / path)) for path in samples["path"]])
    seen = (np.log(np.exp(logits).sum(1)) - logits[np.arange(len(given)), given])[where.rows]
    run.write_timeline(
        samples=samples["sample"].to_numpy(np.int64)[where.rows],
        losses=np.stack([seen * share for share in (1.5, 1)]).astype(np.float32),
        probabilities=probabilities[where.rows].astype(np.float32),
        thumbs=timeline.shrunk(pictures[where.rows], temporal.SIDE),
    )
    return find_run(score_run(run)), truth
