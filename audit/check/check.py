"""`lossprint check`: does a batch of new images belong to the data of a run? What is not judged is counted."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lossprint.audit.check import bank, copies, quality
from lossprint.audit.check.batch import Batch, fits, read_batch
from lossprint.audit.check.cards import cards
from lossprint.audit.check.looked_for import KINDS
from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets import kinds
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.media import TEXTS, media_of
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import version
from lossprint.audit.runs.run import Run
from lossprint.audit.training import loading
from lossprint.audit.training.names import parts as parts_of
from lossprint.audit.types import LossprintError, one_line
from lossprint.scoring.newcomers import shift

SIDE = 64  # px of the pictures that are compared where the run does not say at what size its images were seen


@dataclass(frozen=True, eq=False)
class Check:
    """result: what `--json` prints and the run folder keeps. samples: a row an image of the batch, the columns of
    `run.tables.CHECKED`, `card` a small picture of those that are named.
    """

    result: dict
    samples: pd.DataFrame


def check(
    run: Run,
    name: str,
    *,
    features: str | None = None,
    choices: Choices | None = None,
    device: str = "auto",
    title: str | None = None,
    quiet: bool = True,
) -> Check:
    """Look at the batch at `name`, a DATASET or a folder of images, and keep the result in the run as `title`.

    Raises LossprintError for a batch without an image that can be read, and for a run of texts.
    """
    about = run.manifest["dataset"]
    if media_of(about) is TEXTS:
        raise LossprintError(f"expected a run of images, found one of texts in {run.path}")
    if title is not None and fits(title) != title:
        raise LossprintError(
            f"expected a name of letters (A to Z), digits and . _ - for the check, found {title[:80]!r}"
        )
    usual = Choices.of(about.get("choices") or {})
    choices = choices or Choices(allow_truncated=usual.allow_truncated, max_pixels=usual.max_pixels)
    images = _images(run, quiet)
    side = _side(run) if isinstance(images, str) or images.pixels is None else images.pixels.shape[1]
    batch = read_batch(name, run, choices, side, quiet)
    table = batch.samples[["path", "label"]].astype(object).reset_index(drop=True)
    table.insert(0, "image", np.arange(len(table)))
    parts: dict[str, dict] = {}
    known = bank.known_of(run)
    looked = known if isinstance(known, str) else bank.look(run, known, batch, features, device, quiet)
    answers = None
    if not isinstance(looked, str):
        answers = bank.answers(known, looked, batch.codes)
    _foreign(table, parts, answers, looked)
    _labels(table, parts, run, batch, answers, looked)
    _classes(parts, run, batch, answers, looked)
    seen = None if isinstance(looked, str) else (known.all, looked.vectors)
    _against_images(table, parts, run, batch, seen, images)
    parts["unreadable"] = _part(len(batch.unreadable), 0)
    unmeasured = max(parts[kind]["unjudged"] for kind in ("foreign", "copy", "label_error", "quality_shift"))
    table["card"] = cards(batch.loaded.dataset, table)
    result = {
        "run": str(run.path.absolute()),
        "batch": kinds.absolute(name),
        "name": title or fits(name),
        "images": len(table) + len(batch.unreadable),
        "labelled": int((table["label"] != "").sum()),
        "unmeasured": int(unmeasured),
        "parts": {kind: parts[kind] for kind in KINDS},
        "unreadable": batch.unreadable.head(50).to_dict("records"),
        "notes": list(batch.notes),
    }
    beside.write_check(run, result["name"], result | {"lossprint": version()}, table)
    return Check(result, table)


def _part(found: int, unjudged: int, why: str = "", **more) -> dict:
    """Of how many images something is found, how many nobody could judge and why, and further numbers."""
    return {"found": int(found), "unjudged": int(unjudged), "why": why, **more}


def _foreign(table: pd.DataFrame, parts: dict, answers: bank.Answers | None, looked) -> None:
    if answers is None:
        table["foreign"], table["foreign_p"], table["is_foreign"] = np.nan, np.nan, False
        parts["foreign"] = _part(0, len(table), looked)
        return
    judged = answers.foreign
    table["foreign"], table["foreign_p"], table["is_foreign"] = judged.severity, judged.p, judged.found
    whole = shift.of_numbers(answers.remoteness, answers.usual)
    doubt = "" if answers.reference == "validation" else "compared with training images, which look nearer than others"
    parts["foreign"] = _part(
        judged.found.sum(),
        0,
        doubt,
        usual=judged.usual,
        method=answers.method,
        reference=answers.reference,
        references=len(answers.usual),
        whole=None if whole is None else vars(whole),
    )


def _labels(table: pd.DataFrame, parts: dict, run: Run, batch: Batch, answers: bank.Answers | None, looked) -> None:
    labelled = (table["label"] != "").to_numpy()
    parts["unknown_label"] = _part(batch.unknown.sum() if run.task == "classes" else 0, 0, names=_unknown(batch))
    table["unknown_label"] = batch.unknown
    empty = {"suggested_label": None, "probability": np.nan, "given_probability": np.nan, "margin": np.nan}
    if answers is None:
        for name, value in (empty | {"label_error": False, "certain": False}).items():
            table[name] = value
        parts["label_error"] = _part(0, labelled.sum(), looked if labelled.any() else "")
        return
    labels = answers.labels
    table["suggested_label"] = np.array(run.classes, object)[labels.suggested]
    table["probability"], table["given_probability"] = labels.probability, labels.given_probability
    table["margin"], table["label_error"], table["certain"] = labels.margin, labels.flagged, labels.certain
    unjudged = int((labelled & batch.unknown).sum())
    why = "labels that the run does not have cannot be judged" if unjudged else ""
    parts["label_error"] = _part(labels.flagged.sum(), unjudged, why, certain=int(labels.certain.sum()))


def _unknown(batch: Batch) -> list[dict]:
    counts = batch.samples.loc[batch.unknown, "label"].value_counts()
    return [{"label": str(label), "images": int(count)} for label, count in counts.head(50).items()]


def _classes(parts: dict, run: Run, batch: Batch, answers: bank.Answers | None, looked) -> None:
    """Classes of the batch against those of the training samples; of one without labels predicted ones."""
    count, classes = len(batch.samples), len(run.classes)
    codes, known, how = batch.codes, None, "given"
    if run.task != "classes":
        parts["class_shift"] = _part(0, count, f"labels of a run of {run.task} are not classes", how="", rows=[])
        return
    if (codes >= 0).any() or batch.unknown.any():
        table = run.samples(columns=["label", "split"])
        of = pd.Index(run.classes).get_indexer(table.loc[table["split"] == "train", "label"])
        known = np.bincount(of[of >= 0], minlength=classes)
        labelled = int((codes >= 0).sum() + batch.unknown.sum())
        new = np.append(np.bincount(codes[codes >= 0], minlength=classes), batch.unknown.sum())
        known, unjudged = np.append(known, 0), count - labelled
        why = "images without a label" if unjudged else ""
    elif answers is not None:
        how, unjudged, why = "predicted", 0, ""
        new = np.append(np.bincount(answers.labels.suggested, minlength=classes), 0)
        known = np.append(np.bincount(answers.predicted, minlength=classes), 0)
    else:
        parts["class_shift"] = _part(0, count, f"no labels, and {looked}", how="", rows=[])
        return
    found = shift.of_classes(new, known)
    names = [*run.classes, None]
    rows = [
        {"label": names[c], "images": int(new[c]), "share": float(new[c] / new.sum())}
        | {"known_share": float(known[c] / max(known.sum(), 1))}
        for c in np.argsort(-np.abs(new / new.sum() - known / max(known.sum(), 1)), kind="stable")
        if new[c] or known[c]
    ]
    numbers = (
        {"distance": None, "least": None, "p": None}
        if found is None
        else {name: float(getattr(found, name)) for name in ("distance", "least", "p")}
    )
    least = int(np.floor((numbers["least"] or 0) * new.sum()))
    parts["class_shift"] = _part(least, unjudged, why, how=how, **numbers, rows=rows)


def _against_images(
    table: pd.DataFrame, parts: dict, run: Run, batch: Batch, seen, images: datasets.Loaded | str
) -> None:
    """Copies and quality, for which the run's images are read again; what cannot be is said."""
    count = len(table)
    for name, value in (("copy_of", -1), ("copy_kind", ""), ("similarity", np.nan), ("copy_split", ""), ("repeat", -1)):
        table[name] = value
    if isinstance(images, str):
        for kind in ("copy", "leak", "repeat"):
            parts[kind] = _part(0, count, images)
        parts["quality_shift"] = _part(0, count, images, rows=[])
        return
    vectors = None
    if seen is not None:
        (ids, known), new = seen
        place = pd.Index(ids).get_indexer(images.dataset.samples["sample"])
        vectors = (known[place], new) if (place >= 0).all() else None
    found = copies.found(images, batch.loaded, vectors)
    split = images.dataset.samples.set_index("sample")["split"]
    table["copy_of"], table["copy_kind"], table["repeat"] = found.sample, found.kind, found.repeat
    hit = found.sample >= 0
    table["similarity"] = np.where(hit, found.similarity, np.nan)
    table["copy_split"] = np.where(hit, split.reindex(found.sample).fillna("").to_numpy(str), "")
    doubted = min(found.doubted, int((~hit).sum()))
    why = "images that resemble so many others that copies cannot be told from look-alikes" if doubted else ""
    near = int((found.kind == "near").sum())
    parts["copy"] = _part(
        hit.sum(), doubted, why, exact=int(hit.sum()) - near, near=near, shortlisted=found.shortlisted
    )
    parts["leak"] = _part(np.isin(table["copy_split"], ("val", "test")).sum(), doubted, why)
    parts["repeat"] = _part((found.repeat >= 0).sum(), doubted, why)
    rows = quality.shifts(batch.measures, quality.of_some(images.dataset))
    compared = [row for row in rows if row["least"] is not None]
    least = max((row["least"] for row in compared), default=0.0)
    short = not compared
    parts["quality_shift"] = _part(
        int(np.floor(least * count)), count if short else 0, "too few images to compare" if short else "", rows=rows
    )


def _images(run: Run, quiet: bool) -> datasets.Loaded | str:
    """The images of the run's samples, read again as they are now, or in words why they cannot be."""
    try:
        loaded, _ = loading.load(loading.asked_of(run) | {"task": run.task}, quiet)
    except (LossprintError, OSError) as error:
        return f"the images of the run cannot be read: {one_line(error)}"
    there, own = loaded.dataset.samples, run.samples()
    at = pd.Index(there["sample"]).get_indexer(own["sample"])
    same = (at >= 0) & (there["path"].to_numpy(str)[np.maximum(at, 0)] == own["path"].to_numpy(str))
    if not same.all():
        first = own["path"].to_numpy(str)[~same][0]
        return f"{int((~same).sum()):,} of {len(own):,} images of the run are not where they were, such as {first!r}"
    dataset = replace(loaded.dataset, samples=there.iloc[at].reset_index(drop=True))
    pixels = None if loaded.pixels is None else loaded.pixels[at]
    return datasets.Loaded(dataset, pixels, loaded.digests[at], loaded.sizes[at], loaded.measures[at])


def _side(run: Run) -> int:
    """At what size the run's network saw images, pixels; another that serves where none did."""
    trained = parts_of(run.manifest["asked"].get("model") or "")[0]
    size = (run.manifest["facts"].get("record") or {}).get("size")
    return int(size) if trained and size else SIDE
