"""What a run knows of its own images, and what that says of new ones: features, a head, neighbours. No training on new.

Of a run on frozen features the backbone looks at the batch, and the run's linear head is made anew from its stored
features, in seconds. Of a network that the audit trained the last checkpoint looks, and its own last layer is the head.
Features that were made elsewhere take a file of them for the batch too.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.audit.check.batch import Batch
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.training.names import FEATURES, parts, trained_of
from lossprint.audit.types import LossprintError
from lossprint.scoring.heads import blocks, folds
from lossprint.scoring.heads import foreign as within
from lossprint.scoring.heads.combine import temperature
from lossprint.scoring.heads.lda import log_softmax
from lossprint.scoring.newcomers import foreign, labels
from lossprint.scoring.outliers import ROUNDING

FEWEST = 10  # training samples with an embedding below which nothing is said


@dataclass(frozen=True, eq=False)
class Known:
    """The bank of a run: vectors (N, d) of its training samples and classes (N,) as given or decided; vectors of its
    validation samples (R, d) and their classes (R,), which no head has learnt. all: ids (A,) and vectors (A, d).
    """

    vectors: np.ndarray
    labels: np.ndarray
    held: np.ndarray
    held_labels: np.ndarray
    all: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Looked:
    """New vectors (M, d), a head's logits of them (M, C), of the bank (N, C) and of its held-out samples (R, C).

    learnt: whether the vectors are a network's that was trained on the bank.
    """

    vectors: np.ndarray
    new: np.ndarray
    bank: np.ndarray
    held: np.ndarray
    learnt: bool = False


def known_of(run: Run) -> Known | str:
    """The bank, or in words why there is none."""
    if run.task != "classes":
        return f"samples of a run of {run.task} have no classes that a head could tell apart"
    embedded = run.embeddings()
    if embedded is None or not len(embedded[0]):
        return "the run has no embedding of its images: its losses were recorded or imported without a network"
    ids, vectors = embedded
    with open_reviews(run) as reviews:
        decided = reviews.current().drop_duplicates("sample", keep="last").set_index("sample")
    table = run.samples(columns=["sample", "label", "split"])
    table = table[table["sample"].isin(ids)]
    new_label = table["sample"].map(decided["new_label"]).astype(object)
    # A class that a reviewer added has no place among those that the run's network tells apart.
    added = new_label.notna() & ~new_label.isin(run.classes)
    out = (table["sample"].map(decided["decision"]).isin(["exclude"]) | added).to_numpy(bool)
    label = new_label.where(new_label.notna(), table["label"].astype(object))
    code = pd.Index(run.classes).get_indexer(label)
    place, split = pd.Index(ids).get_indexer(table["sample"]), table["split"].to_numpy(str)
    rows = {name: (split == name) & ~out & (code >= 0) for name in ("train", "val")}
    if rows["train"].sum() < FEWEST:
        return f"the run has an embedding of only {int(rows['train'].sum())} training images"
    return Known(
        vectors[place[rows["train"]]],
        code[rows["train"]],
        vectors[place[rows["val"]]],
        code[rows["val"]],
        (ids, vectors),
    )


def look(run: Run, known: Known, batch: Batch, features: str | None, device: str, quiet: bool) -> Looked | str:
    """What the run's own network or backbone says of the batch, or in words why it cannot. LossprintError for a file of
    features of another batch or backbone."""
    asked = run.manifest["asked"]
    model = asked.get("model") or ""
    trained, backbone = parts(model) if model else (None, None)
    if features is not None:
        from lossprint.audit.training.feature_files import read_features

        new = read_features(features, batch.loaded.dataset)
        if new.shape[1] != known.vectors.shape[1]:
            raise LossprintError(
                f"expected {known.vectors.shape[1]} features an image as in {run.path}, found {new.shape[1]} in "
                f"{features}"
            )
        return _headed(run, known, new, device)
    if backbone == FEATURES:
        return "its features were made elsewhere: give those of the batch with --features FILE"
    if backbone:
        try:
            return _headed(run, known, _through_backbone(run, batch, device, quiet), device)
        except LossprintError as error:
            return f"its backbone cannot look: {error}"
    if "epochs" not in asked or not trained or not run.saved_checkpoints():
        return (
            "its network is not in the run folder: give features of the batch by the same network with --features FILE"
        )
    return _through_network(run, known, batch, device)


def _through_backbone(run: Run, batch: Batch, device: str, quiet: bool) -> np.ndarray:
    from lossprint.audit.training import train
    from lossprint.audit.workflow import frozen
    from lossprint.audit.workflow.stages import Work

    asked = {"precision": "float32"} | run.manifest["asked"]
    source = frozen.open_source(asked, batch.loaded.dataset, download=False, quiet=quiet)
    return source.vectors(Work(asked, None, batch.loaded, train.pick_device(device), quiet))


def _headed(run: Run, known: Known, new: np.ndarray, device: str) -> Looked:
    """With the run's linear head, made anew from what it stored: its seed, and its weight decay where it is known."""
    from lossprint.audit.training import train
    from lossprint.scoring.heads import linear

    asked, classes = run.manifest["asked"], len(run.classes)
    seed, device = int(asked.get("seed") or 0), train.pick_device(device)
    record = run.manifest["facts"].get("record") or {}
    decay = record.get("decay") or (record.get("frozen") or {}).get("decay")
    options = {"epochs": 30, "seed": seed, "device": device}
    if not isinstance(decay, float) or not 0 < decay < 1:
        fold = folds.deal(known.labels, 5, seed=seed)
        decay = linear.chosen_decay(known.vectors, known.labels, classes, fold, **options)
    *_, head = linear.train(known.vectors, known.labels, classes, decay=decay, **options)

    def of(vectors: np.ndarray) -> np.ndarray:
        logits = [block.cpu().numpy() for _, block in head.logits(vectors)] if len(vectors) else []
        return np.concatenate([np.empty((0, classes), np.float32), *logits])

    return Looked(new, of(new), of(known.vectors), of(known.held))


def _through_network(run: Run, known: Known, batch: Batch, device: str) -> Looked | str:
    from lossprint.audit.training import models, train

    facts, device = run.manifest["facts"].get("record") or {}, train.pick_device(device)
    count, size = len(batch.samples), facts.get("size")
    if not {"size", "mean", "std"} <= set(facts) or batch.loaded.pixels.shape[1] != size:
        return "the run does not say how its network saw images"
    network = models.build_model(trained_of(run.manifest["asked"]["model"]), len(run.classes), size).to(device)
    train.load_weights(network, run.read_checkpoint(run.saved_checkpoints()[-1]))
    inputs = train.Inputs(
        np.arange(count),
        np.zeros(count, np.int64),
        np.full(count, "test"),
        batch.loaded.pixels,
        size,
        np.array(facts["mean"]),
        np.array(facts["std"]),
        len(run.classes),
    )
    new, layer = train.embed(network, inputs, device), models.last_linear(network)
    if new.shape[1] != known.vectors.shape[1]:
        return "the run's embedding is of another network than its last checkpoint"
    weight = layer.weight.detach().cpu().numpy().T
    bias = 0.0 if layer.bias is None else layer.bias.detach().cpu().numpy()
    return Looked(new, *(vectors @ weight + bias for vectors in (new, known.vectors, known.held)), learnt=True)


@dataclass(frozen=True, eq=False)
class Answers:
    """Of M new images: foreign, see `foreign.Judged`; remoteness (M,) and that of the reference (R,); labels, see
    `labels.NewLabels`, and predicted classes of the reference (R,). reference: validation, or training samples, which
    the head has learnt. method: what remoteness is.
    """

    foreign: foreign.Judged
    remoteness: np.ndarray
    usual: np.ndarray
    reference: str
    method: str
    labels: labels.NewLabels
    predicted: np.ndarray


def answers(known: Known, looked: Looked, codes: np.ndarray, seed: int = 0) -> Answers:
    """How far from the bank, and the head's and the neighbours' word on the labels `codes` (M,), -1 for none.

    By NNGuide on pretrained features. A network that was trained on the bank alone is as sure of foreign images as of
    others, so that its energy misleads (`benchmarks/batch.py`): of its embedding the distance to the k-th neighbour.
    """
    enough = len(known.held) >= foreign.FEW
    far = _distances if looked.learnt else _guidances
    new, usual = far(known, looked, enough, seed)
    prepared = blocks.prepare(known.vectors)
    batch = blocks.Prepared(looked.vectors, prepared.mean, prepared.scale)
    classes = looked.new.shape[1]
    shares = labels.vote(prepared, known.labels, classes, batch, seed=seed)
    logits, given = (looked.held, known.held_labels) if enough else (looked.bank, known.labels)
    warmth = temperature(log_softmax(logits.astype(np.float64)), given)
    return Answers(
        foreign.judged(new, usual),
        new,
        usual,
        "validation" if enough else "training",
        "distance" if looked.learnt else "NNGuide",
        labels.judged(looked.new, shares, codes, warmth),
        logits.argmax(axis=1),
    )


def _guidances(known: Known, looked: Looked, enough: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Remoteness by NNGuide of the new (M,) and of the reference (R,)."""
    energies = {name: foreign.energies(getattr(looked, name)) for name in ("new", "bank", "held")}
    bank = foreign.bank(known.vectors, energies["bank"], seed=seed)
    if enough:
        guidance = -foreign.nnguide(bank, known.held, energies["held"])
    else:
        guidance = -within.nnguide(known.vectors, energies["bank"], seed=seed)
    middle = float(np.median(guidance))
    new = -foreign.nnguide(bank, looked.vectors, energies["new"])
    return foreign.remote(new, middle), foreign.remote(guidance, middle)


def _distances(known: Known, looked: Looked, enough: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by the cosine distance to the k-th neighbour."""
    bank = foreign.bank(known.vectors, seed=seed)
    if enough:
        usual = 1 - foreign.nearest(bank, known.held)[1]
    else:
        usual = within.distance(known.vectors, seed=seed)
    return tuple(np.maximum(one, ROUNDING) for one in (1 - foreign.nearest(bank, looked.vectors)[1], usual))
