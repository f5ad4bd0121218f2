"""`--model auto`, the default: both views where weights of a backbone are at hand, `small` alone where none are.

At hand: in the cache of torch.hub, in a file named by `--weights` or `--features`, or to be fetched by `--download` or
after a yes at the terminal. Of many photos that are larger than the small network sees a trial on some of them says
whether both views are worth their time or one of them is so much better that it is the only one. Of fewer both are
taken, and a backbone that turns out not to fit these images is left out again. Of
frames of videos the backbone's view alone.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.system.progress import Bar
from lossprint.audit.training import backbones
from lossprint.audit.training.loading import DEFAULTS, FROZEN_DEFAULTS
from lossprint.audit.training.models import SMALL_IMAGE
from lossprint.audit.training.names import FEATURES, FROZEN, SMALL, parts
from lossprint.audit.types import LossprintError
from lossprint.scoring.heads import combine

QUICK = 10_000  # training samples up to which both views are taken without a trial
TRIED, VALIDATED = 4_000, 1_000  # samples of a trial
FETCHED = "efficientnet_b0"  # what a yes downloads: the least work an image of those of its accuracy
# As torchvision's own record has it, whose import takes seconds that every audit without weights would wait for.
PUBLISHED = f"{FETCHED}, 20 MB from https://download.pytorch.org/models/efficientnet_b0_rwightman-7f5810bc.pth"
PREFERRED = (FETCHED, "resnet50", "convnext_tiny", "efficientnet_v2_s", "resnet18", "mobilenet_v3_large")
Consent = Callable[[str], bool]


def proposed(asked: dict, download: bool, consent: Consent | None, several: bool = False) -> str:
    """`small`, or `small+frozen:NAME` with a backbone whose weights are at hand.

    consent: asked with a question whether weights may be downloaded, None where nobody can be asked. Of several
    processes, which only train, it is `small` unless weights are named. Raises LossprintError for a file of weights
    whose name does not say of which classifier they are.
    """
    if asked.get("features") is not None:
        return f"{SMALL}+{FEATURES}"
    if (file := asked.get("weights")) is not None:
        return f"{SMALL}+{FROZEN}{_named_in(Path(file))}"
    if several and not download:
        return SMALL
    if name := backbones.at_hand(PREFERRED):
        return f"{SMALL}+{FROZEN}{name}"
    if download or (consent and consent(f"No pretrained weights are at hand. Download {PUBLISHED}?")):
        return f"{SMALL}+{FROZEN}{FETCHED}"
    return SMALL


def hint(backbone: str | None, dataset: datasets.Dataset) -> None:
    """Say on standard error how wrong labels would be ranked better, where no weights were at hand."""
    if backbone is None and dataset.samples["sequence"].isna().all():
        print(
            f"lossprint: no pretrained weights at hand: trains small alone; with --download ({PUBLISHED}) or "
            f"--model small+{FROZEN}NAME wrong labels of photos are ranked better",
            file=sys.stderr,
        )


def settled(asked: dict, by_user: dict, dataset: datasets.Dataset) -> dict:
    """What is asked, once the samples are known: of videos the backbone's view alone.

    by_user: the options as they were given, None where they were not. What only a training has, such as further seeds,
    keeps the training: of videos alone, since a run of theirs has one view.
    """
    trained, backbone = parts(asked["model"])
    if backbone is None or dataset.samples["sequence"].isna().all():
        return asked
    if _wants_training(by_user):
        return {**asked, "model": trained}
    return {**asked, "model": backbone, **_frozen_defaults(by_user)}


def _wants_training(by_user: dict) -> bool:
    folds, curvature = by_user["folds"], by_user["curvature_checkpoints"]
    return bool((by_user["seeds"] or 1) > 1 or folds or curvature or by_user["compiled"])


def _frozen_defaults(by_user: dict) -> dict:
    return {name: value for name, value in FROZEN_DEFAULTS.items() if by_user[name] is None}


def to_try(by_user: dict, dataset: datasets.Dataset) -> bool:
    """Whether the images are many and larger than the small network sees, so that a trial pays. by_user as in
    `settled`."""
    if _wants_training(by_user):
        return False
    sides = datasets.image_sizes(dataset, at_most=1000)
    large = len(sides) > 0 and np.median(sides.max(axis=1)) > SMALL_IMAGE
    return bool(large and (dataset.samples["split"] == "train").sum() > QUICK)


def tried(asked: dict, by_user: dict, work, source) -> dict:
    """What is asked, after a trial: both views of `TRIED` training samples, judged by `VALIDATED` validation samples.

    work, source: `stages.Work` and `frozen.Source`. A view that counts for less than `combine.SLIGHT` is not taken at
    all; `asked["auto"]` says how well each did.
    """
    from lossprint.audit.training import train
    from lossprint.audit.training.recipe import Recipe

    trained, backbone = parts(asked["model"])
    inputs, random = work.inputs, np.random.default_rng(asked["seed"])
    rows = np.sort(random.permutation(inputs.rows("train"))[:TRIED])
    others = np.sort(random.permutation(inputs.rows("val"))[:VALIDATED])
    vectors = source.vectors(work, np.concatenate([rows, others]))
    right = [0, _named_by_ridge(vectors[: len(rows)], inputs.labels[rows], vectors[len(rows) :], inputs.labels[others])]
    recipe = replace(Recipe(), epochs=asked["epochs"] or DEFAULTS["epochs"]).for_size(len(rows))
    steps = recipe.epochs * recipe.steps(len(rows))
    options = {"model": trained, "recipe": recipe, "seed": asked["seed"], "device": work.device}
    with Bar(total=steps, unit="step", desc="trial", disable=work.quiet) as bar:
        network = train.fit(inputs, rows, steps=steps, precision=asked["precision"], bar=bar, **options)
    named = train.predict(network, inputs.on(work.device), others, work.device, asked["precision"])
    right[0] = int((named == inputs.labels[others]).sum())
    weights = combine.shares_of([(count + 1) / (len(others) + 2) for count in right])
    facts = {"samples": len(rows), "network": right[0] / len(others), "backbone_share": right[1] / len(others)}
    asked = {**asked, "auto": {"backbone": backbone, **facts}}
    if weights[1] < combine.SLIGHT:
        return {**asked, "model": trained}
    if weights[0] < combine.SLIGHT:
        return {**asked, "model": backbone, **_frozen_defaults(by_user)}
    return asked


def _named_by_ridge(features: np.ndarray, labels: np.ndarray, others: np.ndarray, theirs: np.ndarray) -> int:
    """How many labels (M,) of other features ridge regression names that saw features (N, d) with labels (N,)."""
    from lossprint.scoring.heads import blocks, lda, moments
    from lossprint.scoring.heads.folds import deal

    prepared, fold = blocks.prepare(features), deal(labels)
    total = moments.moments(prepared, labels, int(max(labels.max(), theirs.max())) + 1, fold)
    head = lda.ridge(moments.part(total), lda.chosen_shrinkage(total, prepared, labels, fold))
    answers = lda.applied([head], blocks.Prepared(others, prepared.mean, prepared.scale))
    return int((answers.argmax(axis=1) == theirs).sum())


def _named_in(file: Path) -> str:
    """The classifier whose name a file's begins with, as torchvision's do: resnet50-11ad3fa6.pth."""
    name = file.name.partition("-")[0].partition(".")[0]
    if name not in backbones.names():
        raise LossprintError(
            f"expected --weights beside --model {FROZEN}NAME, found it beside small, and no classifier's name at the "
            f"beginning of {file.name!r}"
        )
    return name
