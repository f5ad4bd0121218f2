"""New annotated videos, looked at by the networks of a run that never saw them: no training.

Their losses at every checkpoint of the run, and what its models over time say, become a run of their own, which can be
scored again, reviewed and exported like any other.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.readers.manifests import read_manifest
from lossprint.audit.datasets.source import locate
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.open import open_run, refuse_run
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import PART
from lossprint.audit.system.progress import Bar, bar_style
from lossprint.audit.training import models, train
from lossprint.audit.training.names import trained_of
from lossprint.audit.types import LossprintError
from lossprint.audit.video import decode, features, temporal, timeline
from lossprint.scoring import sequences


def score_new(path: str | Path, manifest: str, out: str | Path, device: str = "auto", quiet: bool = False) -> Run:
    """Look for spans in the videos of `manifest` with the networks of the run at `path`; a new run folder at `out`.

    `manifest` may also be a CSV of segments of the video files beside it; they are sampled as those of the run were.
    All of the new frames count as training samples of that run: its tables then have the columns that other programs
    know. It has no validation samples, so no CLD and no partners. Raises LossprintError where the run has no models
    over time, where the manifest has no videos, a label that the run does not know, or an image that cannot be read.
    """
    run = open_run(path)
    seen, weights, folds = run.timeline(), run.read_temporal(), run.members("fold")
    if seen is None or not weights or "axes.mean" not in seen:
        raise LossprintError(
            f"expected a run of videos that were looked at over time, found none in {path}: audit them"
        )
    if "plain.heads" not in seen:  # its models over time saw a backbone's features, or are of an earlier version
        what = "frozen features" if not folds else "models over time of an earlier version"
        raise LossprintError(f"expected a run whose own networks looked at its videos, found {what} in {path}")
    refuse_run(out)
    dataset = _opened(decode.prepared(manifest, out, run.manifest["asked"].get("rate"), quiet), run.classes)
    device, facts = train.pick_device(device), run.manifest["facts"]["record"]
    samples, size = dataset.samples, int(facts["size"])
    pixels = np.stack([datasets.square(_read(dataset, one), size) for one in samples["path"]])
    inputs = train.Inputs(
        samples["sample"].to_numpy(np.int64),
        samples["label"].map({label: at for at, label in enumerate(run.classes)}).to_numpy(np.int64),
        np.full(len(samples), "test"),  # nothing here was trained on
        pixels,
        size,
        np.array(facts["mean"]),
        np.array(facts["std"]),
        len(run.classes),
        samples["sequence"].to_numpy(str),
    )
    recorder = Recorder(out, dataset, asked={"dataset": dataset.source, "of": str(Path(path).absolute())})
    made = _record(recorder, run, inputs, device, quiet)
    frame = samples["frame"].to_numpy(np.int64)
    where = timeline.rows_of(inputs.sequence, frame, inputs.split, np.zeros(len(samples), np.int64))
    plain = features.statistics(_sided(pixels, int(seen["plain.side"][0])), where.rows)
    flat = features.centred(plain, np.arange(len(plain)), where.bounds, seen["plain.axes"])
    if seen["plain.network"][0]:
        trained = trained_of(run.manifest["asked"]["model"])
        looks = timeline.frame_looks(run, inputs, np.zeros(len(samples), np.int64), trained, device)[:, where.rows]
    else:
        looks = features.held_out(flat, seen["plain.heads"], where)
    axes = temporal.Axes(*(seen[f"axes.{name}"] for name in ("mean", "axes", "scale")))
    labels, told = inputs.labels[where.rows], []
    for k in range(len(folds)):
        inner = temporal.frame_features(flat, axes, looks[k])
        told.append(temporal.look(weights[k], inner, labels, where.bounds))
    known = run.samples().set_index("sample").loc[seen["samples"]]
    index = {label: at for at, label in enumerate(run.classes)}
    made.write_timeline(
        samples=inputs.samples[where.rows],
        losses=np.mean([one.losses for one in told], 0),
        probabilities=np.mean([one.probabilities for one in told], 0),
        thumbs=timeline.shrunk(pixels[where.rows]),
        **{
            "reference.labels": known["label"].map(index).to_numpy(np.int64),
            "reference.bounds": sequences.bounds_of(known["sequence"].to_numpy(str)),
            "reference.probabilities": seen["probabilities"],
            "reference.thumbs": seen["thumbs"],
        },
    )
    return find_run(score_run(made))


def _opened(manifest: str, classes: list[str]) -> datasets.Dataset:
    """The frames of a manifest, as they stand; nothing is drawn from them, as nothing is learned."""
    place = locate(manifest)
    if place.is_dir():
        raise LossprintError(f"expected a manifest of video frames, found a folder at {place}")
    origin = read_manifest(place)
    samples = origin.rows.assign(split="train")
    if samples["sequence"].isna().any() or samples["frame"].isna().any():
        raise LossprintError(f"expected a sequence and a frame in every row of {place}, found rows without")
    unknown = sorted(set(samples["label"]) - set(classes))
    if unknown:
        named = ", ".join(map(repr, unknown[:5]))
        raise LossprintError(f"expected labels that the run knows ({', '.join(classes[:8])}) in {place}, found {named}")
    if origin.faults:
        row = samples.loc[samples["sample"].isin(list(origin.faults))].iloc[0]
        raise LossprintError(f"expected every image of {place}, found: {row['path']!r}: {origin.faults[row['sample']]}")
    none = pd.DataFrame({"path": [], "reason": []}, dtype="string")
    fields = {"source": origin.name, "kind": origin.kind, "root": origin.root, "fingerprint": origin.fingerprint}
    more = {"unreadable": none, "notes": list(origin.notes), "checked": False, "origin": origin, "faults": {}}
    return datasets.Dataset(samples=samples, classes=list(classes), **fields, **more)


def _sided(pixels: np.ndarray, side: int) -> np.ndarray:
    """Images (N, S, S, 3) at `side` px, as the run's statistics were taken."""
    return pixels if pixels.shape[1] == side else timeline.shrunk(pixels, side)


def _read(dataset: datasets.Dataset, path: str):
    try:
        return dataset.image(path)
    except Exception as error:  # a decoder may raise anything at all on a damaged file
        found = datasets.reason(error)
        raise LossprintError(f"expected every image of {dataset.source}, found: {path!r}: {found}") from None


def _record(recorder: Recorder, run: Run, inputs: train.Inputs, device: str, quiet: bool) -> Run:
    """The losses of the new frames at every checkpoint of the run."""
    asked, rows = run.manifest["asked"], np.arange(len(inputs.samples))
    network = models.build_model(trained_of(asked["model"]), inputs.classes, inputs.size).to(device)
    empty = pa.table({name: pa.array([], kind) for name, kind in zip(PART.names, PART.types)})
    checkpoints = run.saved_checkpoints()
    for checkpoint in Bar(checkpoints, unit="checkpoint", desc="look", disable=quiet, **bar_style()):
        train.load_weights(network, run.read_checkpoint(checkpoint))
        train.record(recorder, network, inputs, rows, device)
        recorder.end_checkpoint(checkpoint)
        recorder.run.write_part("val", checkpoint, empty)
    return recorder.finish()
