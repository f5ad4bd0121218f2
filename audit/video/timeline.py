"""Video sequences looked at over time: what held-out networks say of every frame, and what exchanging blocks would do.

Runs after training, while the images are at hand. What it leaves in the run folder (`timeline.safetensors`, the weights
in `temporal/`) is all that `find` needs for the tables of frames and spans, and `newvideos` for other videos.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from lossprint.audit.runs.run import Run
from lossprint.audit.system.progress import Bar, bar_style
from lossprint.audit.training import models, train
from lossprint.audit.training.recipe import Recipe
from lossprint.audit.video import features, temporal, within
from lossprint.scoring import sequences

FOLDS = 4  # of whole videos, where none were asked for
AXES = 64  # principal components of features that a model over time sees
OWN = 6  # checkpoints of the run's own network that are looked at


@dataclass(frozen=True)
class Rows:
    """The frames of sequences in order: rows (M,) of the inputs, bounds (S + 1,), fold (S,), -1: never trained on."""

    rows: np.ndarray
    bounds: np.ndarray
    fold: np.ndarray


def rows_of(sequence: np.ndarray, frame: np.ndarray, split: np.ndarray, fold: np.ndarray) -> Rows:
    """Frames by sequence and number: sequence (N,) names, empty for a plain image; frame, split and fold (N,)."""
    rows = np.flatnonzero(sequence != "")
    rows = rows[np.lexsort((frame[rows], sequence[rows]))]
    bounds = sequences.bounds_of(sequence[rows])
    first = rows[bounds[:-1]]
    return Rows(rows, bounds, np.where(split[first] == "train", fold[first], -1))


@torch.inference_mode()
def frame_looks(run: Run, inputs: train.Inputs, fold: np.ndarray, model: str, device: str) -> np.ndarray:
    """Log-probabilities (K, N, C) float32 of each sample by the network of each fold that has not trained on it.

    A training sample has been left out by one network only: its rows of the others repeat that one's.
    """
    members = run.members("fold")
    found = np.empty((len(members), len(inputs.samples), inputs.classes), np.float32)
    network = models.build_model(model, inputs.classes, inputs.size).to(device).eval()
    for k, member in enumerate(members):
        train.load_weights(network, member.read_checkpoint(member.saved_checkpoints()[-1]))
        trained = inputs.split == "train"
        for those, where in ((trained & (fold == k), slice(None)), (~trained, k)):
            for ids, images, _ in inputs.batches(np.flatnonzero(those), device):
                at = np.searchsorted(inputs.samples, ids)
                found[where, at] = F.log_softmax(network(images).float(), 1).cpu().numpy()
    return found


def held_out(
    flat: np.ndarray,
    axes: temporal.Axes,
    looks: np.ndarray,
    labels: np.ndarray,
    where: Rows,
    classes: int,
    *,
    keep: Callable[[int, dict], None] = lambda fold, weights: None,
    **options,
) -> temporal.Seen:
    """Each sequence as the networks see it that were not trained on it, one network a fold.

    flat (M, P), looks (K, M, C) and labels (M,) in the order of `where`. `keep` is given the weights of each network.
    Options are those of `temporal.fit`.
    """
    seen = None
    for k in range(len(looks)):
        features = temporal.frame_features(flat, axes, looks[k])
        weights = temporal.fit(
            *_some((where.fold >= 0) & (where.fold != k), where, features, labels), classes, **options
        )
        keep(k, weights)
        rest = (where.fold < 0) | (where.fold == k)
        one = temporal.look(weights, *_some(rest, where, features, labels))
        if seen is None:
            seen = temporal.Seen(np.zeros((len(one.losses), len(labels)), np.float32), np.zeros_like(looks[0]))
        at = _rows(rest, where)
        share = np.repeat(np.where(where.fold[rest] < 0, 1 / len(looks), 1.0), np.diff(where.bounds)[rest])
        seen.losses[:, at] += one.losses * share
        seen.probabilities[at] += one.probabilities * share[:, None]
    return seen


def write(
    run: Run,
    inputs: train.Inputs,
    frame: np.ndarray,
    thumbs: np.ndarray,
    asked: dict,
    device: str,
    quiet: bool,
    vectors: np.ndarray | None = None,
) -> None:
    """Train the models over time of a run, and store their weights and what they and others say of every frame.

    frame (N,) numbers within the sequences; thumbs (N, S, S, 3) uint8, rows as in `inputs`. vectors (N, d): features of
    a frozen backbone. Without, plain statistics of the images take their place, which learn from few videos what a
    network does not; the networks of the folds are heard in place of their heads where they are right more often, and
    the run's own network beside them. See `within` for the judges that know a video.
    """
    videos = len(np.unique(inputs.sequence[(inputs.split == "train") & (inputs.sequence != "")]))
    fold = train.fold_of(inputs, asked["folds"] or min(FOLDS, videos), asked["seed"])
    where = rows_of(inputs.sequence, frame, inputs.split, fold)
    labels, rows, classes, seed = inputs.labels[where.rows], where.rows, inputs.classes, asked["seed"]
    trained = np.repeat(where.fold >= 0, np.diff(where.bounds))
    networks = vectors is None
    if networks:
        images = inputs.pixels if isinstance(inputs.pixels, np.ndarray) else thumbs
        vectors, rows = features.statistics(images, rows), np.arange(len(rows))
    main = features.projection(vectors, rows, where.bounds, trained)
    flat = features.centred(vectors, rows, where.bounds, main)
    heads = features.heads(flat, labels, where, classes)
    looks, own = features.held_out(flat, heads, where), False
    if networks:
        # Of two judges of single frames that never saw a video, the one that is right more often is heard: where videos
        # are few and unlike that is not the network, and its noise would count as much as what the other knows.
        other = frame_looks(run, inputs, fold, asked["model"], device)[:, where.rows]
        right = [(one.mean(0).argmax(1) == labels)[trained].mean() for one in (looks, other)]
        looks, own = (other, True) if right[1] > right[0] else (looks, False)
    axes = temporal.axes_of(flat[trained], AXES)
    total = temporal.EPOCHS * len(looks) + 2 * within.EPOCHS
    with Bar(total=total, unit="epoch", desc="over time", disable=quiet, **bar_style()) as bar:
        options = {"seed": seed, "progress": bar.update, "keep": run.write_temporal}
        seen = held_out(flat, axes, looks, labels, where, classes, **options)
        known = temporal.frame_features(flat, axes, looks[0])[trained], labels[trained]
        bounds = np.r_[0, np.cumsum(np.diff(where.bounds)[where.fold >= 0])]
        inner = within.learn(*known, bounds, classes, seed=seed, progress=bar.update)
    of_trial = inner.trial.labels
    arrays = {
        "looks": looks.mean(0),
        "within.single": features.known(flat[trained], labels[trained], classes, seed),
        "within.single.trial": features.known(flat[trained], of_trial, classes, seed),
    }
    if networks:
        arrays |= {
            "within.network": own_looks(run, inputs, where.rows[trained], asked["model"], device),
            "within.network.trial": trial_looks(run, inputs, where.rows[trained], of_trial, asked, device, quiet),
            "plain.axes": main,
            "plain.heads": heads,
            "plain.side": np.array([images.shape[1]]),
            "plain.network": np.array([own]),  # whether the model over time sees what networks say of single frames
        }
    run.write_timeline(
        samples=inputs.samples[where.rows],
        losses=seen.losses,
        probabilities=seen.probabilities,
        thumbs=shrunk(thumbs[where.rows]),
        trained=trained,
        **inner.arrays(),
        **{name: values.astype(np.float32) for name, values in arrays.items()},
        **{f"axes.{name}": value.astype(np.float32) for name, value in vars(axes).items()},
    )


def own_looks(run: Run, inputs: train.Inputs, rows: np.ndarray, model: str, device: str) -> np.ndarray:
    """Log-probabilities (R, C) float32 of rows by the run's own network, which trained on them, over its epochs."""
    chosen, total = _epochs(run), 0
    network = models.build_model(model, inputs.classes, inputs.size).to(device).eval()
    for checkpoint in chosen:
        train.load_weights(network, run.read_checkpoint(checkpoint))
        total = total + _says(network, inputs, rows, device) / len(chosen)
    return total


def trial_looks(
    run: Run, inputs: train.Inputs, rows: np.ndarray, labels: np.ndarray, asked: dict, device: str, quiet: bool
) -> np.ndarray:
    """The same as `own_looks` by a network that is trained once more as the run's own was, on the labels (R,) of a
    trial: what it learns by heart, and so what its doubts are worth, shows on errors made on purpose."""
    given = inputs.labels.copy()
    given[rows] = labels
    train_rows, epochs, total = inputs.rows("train"), asked["epochs"], np.zeros((len(rows), inputs.classes), np.float32)
    chosen = _epochs(run)
    recipe = replace(Recipe(), epochs=epochs).for_size(len(train_rows))
    steps = epochs * recipe.steps(len(train_rows))

    def look(epoch: int, network: torch.nn.Module) -> None:
        if epoch in chosen:
            total[:] += _says(network, inputs, rows, device) / len(chosen)

    more = {"model": asked["model"], "seed": asked["seed"], "device": device, "precision": asked["precision"]}
    with Bar(total=steps, unit="step", desc="trial", disable=quiet, **bar_style()) as bar:
        train.fit(replace(inputs, labels=given), train_rows, recipe=recipe, steps=steps, bar=bar, each=look, **more)
    return total


def _epochs(run: Run) -> list[int]:
    """Checkpoints, `OWN` of them where there are more, spread over the training."""
    saved = run.saved_checkpoints()
    return sorted({saved[at] for at in np.linspace(0, len(saved) - 1, min(OWN, len(saved))).astype(int)})


@torch.inference_mode()
def _says(network: torch.nn.Module, inputs: train.Inputs, rows: np.ndarray, device: str) -> np.ndarray:
    """Log-probabilities (R, C) float32 of rows, in their order, by a network in eval mode."""
    log = np.empty((len(inputs.samples), inputs.classes), np.float32)
    for ids, images, _ in inputs.batches(np.sort(rows), device):
        log[np.searchsorted(inputs.samples, ids)] = F.log_softmax(network(images).float(), 1).cpu().numpy()
    return log[rows]


def shrunk(thumbs: np.ndarray, side: int = temporal.SIDE) -> np.ndarray:
    """Images (N, S, S, 3) uint8 at `side` px, each pixel the mean of those that it covers."""
    found = np.empty((len(thumbs), side, side, 3), np.uint8)
    for row, image in enumerate(thumbs):
        found[row] = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return found


def _rows(which: np.ndarray, where: Rows) -> np.ndarray:
    """The frames of the chosen sequences, (S,) bool."""
    return np.flatnonzero(np.repeat(which, np.diff(where.bounds)))


def _some(which: np.ndarray, where: Rows, features: np.ndarray, labels: np.ndarray):
    at = _rows(which, where)
    return features[at], labels[at], np.r_[0, np.cumsum(np.diff(where.bounds)[which])]
