"""What is asked about a finding, and what each answer stores. Draws nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.app import data
from lossprint.app.elements.keys import KEYS
from lossprint.app.elements.question import Choice, Shown
from lossprint.app.questions import copies
from lossprint.app.shared import parts
from lossprint.app.shared.acting import picked
from lossprint.app.shared.spans import claim, own_ends
from lossprint.audit.review import assigning, queues, strata
from lossprint.audit.types import KIND_WORDS
from lossprint.audit.video import spans

BLIND = {"Both labels": "", "Given label hidden": "given", "Suggestion hidden": "suggestion"}  # as the URL has them
QUEUES = {
    "Everything": None,
    KIND_WORDS["label_error"][0]: assigning.QUEUES["labels"],
    "Duplicates": assigning.QUEUES["duplicates"],
    KIND_WORDS["outlier"][0]: assigning.QUEUES["outliers"],
    KIND_WORDS["quality"][0]: assigning.QUEUES["quality"],
    "Video": assigning.QUEUES["video"],
    "Random audit": (queues.AUDIT,),
    "Spot check": assigning.QUEUES["labels"],  # the label errors in a random order
}
TIERS = {"All tiers": "", "Verify": "verify", "Correct": "correct", "Look closer": "look"}  # as the URL has them
BELONGING = ("outlier", "quality")  # kinds that do not doubt the label
AUDITED = 2000  # questions of the random audit that are there to be asked
SIDE = 900  # pixels of the longer side of an image
FRAME = 480  # of one of several frames of a video
DIGITS = "1234567890"
SECOND = "123456789abcdefghijklmnopqrstuvwxyz"  # after a 0: of the tenth class and the following
COPIES = "BDEFGHIJL"  # the keys of the copies of a group: a digit is a class, wherever it is pressed
MEMBERS = 8  # images of a group that are shown
AWAY = (("exclude", "Exclude"), ("unsure", "Unsure"))  # the answers to a question on one sample that name no label

Decisions = list[tuple]  # sample, decision, new label, and for a place in a video the new frame


@dataclass(frozen=True)
class Offer:
    """An answer that is offered: its id, its text, its keys, the decisions that it stores; `kind` as in Choice."""

    id: str
    text: str
    decisions: Decisions
    keys: tuple[str, ...] = ()
    kind: str = "plain"

    @property
    def choice(self) -> Choice:
        """The offer as the question's element takes it."""
        return Choice(self.id, self.text, self.keys, self.kind)


@dataclass(frozen=True)
class Draft:
    """A question without its progress. `labels`: those that can be searched for; `codes`: the keys of the classes;
    `fresh`: whether the answer may be a new class."""

    title: str
    offers: tuple[Offer, ...]
    labels: tuple[str, ...] = ()
    given: str = ""
    suggested: str = ""
    hint: str = ""
    codes: tuple[tuple[str, str], ...] = ()
    fresh: bool = False

    def decisions(self, choice: str, name: Callable[[str], Decisions] | None = None) -> Decisions | None:
        """What a choice stores; `name(label)` says it for a label that was searched for. None for an unknown choice."""
        new = new_class(choice)
        if new:
            return name(new) if name is not None and self.fresh else None
        label = choice.removeprefix("label:")
        if label != choice:
            return name(label) if name is not None and label in self.labels else None
        return next((offer.decisions or None for offer in self.offers if offer.id == choice), None)


def items(loaded: data.Loaded) -> pd.DataFrame:
    """The questions that the findings ask; like `audit`, `queue` and `likely` through data.derived, once a run."""
    return queues.items(loaded.findings, loaded.scores)


def audit(loaded: data.Loaded) -> pd.DataFrame:
    """The questions of the random audit, the first `AUDITED` of its order."""
    return queues.audit_items(data.derived(loaded, strata_of).rest[:AUDITED].to_numpy())


def strata_of(loaded: data.Loaded) -> strata.Asked:
    """The queue of label errors and the rest, with the random order of each; see audit/review/strata.py."""
    train = loaded.samples.index[(loaded.samples["split"] == "train").to_numpy(bool)].to_numpy()
    return strata.asked(loaded.findings, train, int(loaded.run.manifest.get("seed") or 0))


def queue_of(loaded: data.Loaded, which: str, tier: str, mix: bool) -> pd.DataFrame:
    """A `queue`, worked out once a run; of picked samples, and of those that somebody sent, each time."""
    if which not in QUEUES:
        return picked.items(loaded, picked.asked(loaded, which))
    return data.derived(loaded, queue, which, tier, mix)


def queue(loaded: data.Loaded, which: str, tier: str, mix: bool) -> pd.DataFrame:
    """The questions of a queue of `QUEUES` in their order; of one tier only, or with the random audit mixed in."""
    kinds = QUEUES[which]
    if kinds == (queues.AUDIT,):
        return data.derived(loaded, audit)
    table = data.derived(loaded, items)
    if kinds is not None:
        table = table[table["kind"].isin(kinds)]
    if which == "Spot check":
        order = data.derived(loaded, strata_of)
        table = table.set_index("group", drop=False).loc[order.groups[order.spot]]
    if tier:
        table = table[table["tier"] == tier]
    return queues.mixed(table, data.derived(loaded, audit)) if mix else table.reset_index(drop=True)


def tiers_help(counts: pd.Series) -> str:
    """What the tiers are, with how many questions each has."""
    meanings = {
        "verify": "one confident suggestion, yes or no.",
        "correct": "choose among a few likely labels.",
        "look": "ambiguous.",
    }
    names = {word: name for name, word in TIERS.items()}
    return " ".join(f"**{names[word]}** ({counts.get(word, 0):,}): {text}" for word, text in meanings.items())


def likely(loaded: data.Loaded) -> dict[int, list[str]]:
    """The likely labels of every sample whose label is flagged."""
    flagged = loaded.findings.loc[loaded.findings["kind"] == "label_error", "sample"]
    return queues.likely(loaded.run, flagged.to_numpy())


def new_class(choice: str) -> str:
    """The name of the new class that is the answer; empty for any other answer."""
    return choice.removeprefix("new:").strip() if choice.startswith("new:") else ""


def decide_label(sample: int, label: str, given: str, suggested: str | None) -> Decisions:
    """Naming a label: keeping the given one, accepting the suggested one, or another."""
    if label == given:
        return [(sample, "keep", None)]
    return [(sample, "accept" if label == suggested else "relabel", label)]


def about_label(
    sample: int,
    given: str,
    suggested: str | None,
    likely: Sequence[str],
    classes: Sequence[str],
    *,
    tier: str,
    kind: str,
    blind: str = "",
    new: Sequence[str] = (),
) -> Draft:
    """One image: is the given label right, and if not, which is?

    `likely`: labels, most likely first. `new`: classes that reviewers added, without buttons.
    `blind` leaves out the given label or the suggestion: then every label that is
    offered could be either, and none stands out.
    """
    if len(classes) == 1:
        return _about_sample(sample, kind)
    suggestion = None if blind == "suggestion" or suggested == given else suggested
    ranked = [] if blind == "suggestion" else [*([suggestion] if suggestion else []), *likely]
    way = "blind" if blind == "given" else "choose" if tier == "correct" else "confirm"
    few, codes = len(classes) <= len(DIGITS), {label: (key,) for label, key in class_keys(classes).items()}

    def offer(name: str, text: str, label: str, *keys: str, kind: str = "plain") -> Offer:
        return Offer(name, text, decide_label(sample, label, given, suggested), keys, kind)

    offers = []
    if way == "confirm" and suggestion:
        # Big and blue only where one label was ahead with confidence: else it would pull the answer towards it.
        kind_of = "main" if tier == "verify" else "wide"
        offers.append(
            offer("accept", f"It is {suggestion}", suggestion, KEYS["accept"], *codes.get(suggestion, ()), kind=kind_of)
        )
    if way == "confirm":
        text = f"Keep {given}" if suggestion else f"It is {given}"
        offers.append(offer("keep", text, given, KEYS["keep"], *codes.get(given, ()), kind="wide"))
    more = {suggestion: (KEYS["accept"],), given: (KEYS["keep"],)} if way == "choose" else {}
    for at, label in enumerate(_named(way, ranked, given, suggestion, classes)):
        text = f"{label} (given)" if way == "choose" and label == given else label
        if way == "confirm" and label in (given, suggestion):
            offers.append(Offer(f"name-{at}", text, [], codes[label], "taken"))
        else:
            offers.append(offer(f"name-{at}", text, label, *codes.get(label, ()), *more.get(label, ())))
    return Draft(
        _title(kind, given, suggestion, tier, blind),
        (*offers, *(_plain(name, text, [(sample, name, None)]) for name, text in AWAY)),
        labels=() if few and not new else (*classes, *new),
        fresh=True,
        given="" if blind == "given" else given,
        suggested="" if blind else suggestion or "",
        hint="Most likely first, as the model saw it." if way == "choose" and not blind and ranked else "",
        codes=() if few else tuple(class_keys(classes).items()),
    )


def class_keys(classes: Sequence[str]) -> dict[str, str]:
    """The key of each class, the same in every question of a run: 1 to 9, then 0 and one more.

    Ten classes have the ten digits. Classes beyond the two-key ones are searched for.
    """
    if len(classes) <= len(DIGITS):
        return dict(zip(classes, DIGITS))
    return dict(zip(classes, [*DIGITS[:9], *(f"0{key}" for key in SECOND)]))


def _named(way: str, ranked: Sequence[str], given: str, suggestion: str | None, classes: Sequence[str]) -> list[str]:
    """The labels that have a button, all of them where they are few, whichever the key of each.

    way: `choose`, most likely first; `confirm`, in the order of the classes, of many without the two that have buttons
    of their own; `blind`, by name: neither place nor company tells which one is given.
    """
    few = len(classes) <= len(DIGITS)
    if few and way != "choose":
        return list(classes)
    labels = list(dict.fromkeys([*ranked, given, *(classes if few else ())]))[: len(DIGITS)]
    if way == "blind":
        return sorted(labels)
    return labels if way == "choose" else [label for label in labels if label not in (given, suggestion)]


def _plain(decision: str, text: str, decisions: Decisions, kind: str = "plain") -> Offer:
    """An answer with the key that its decision has everywhere."""
    return Offer(decision, text, decisions, (KEYS[decision],), kind)


def _about_sample(sample: int, kind: str) -> Draft:
    """One sample of a run without labels: does it stay?"""
    return Draft(
        "Does this belong?" if kind in BELONGING else "Is this right?",
        (
            _plain("keep", "Keep it", [(sample, "keep", None)], "main"),
            *(_plain(name, text, [(sample, name, None)]) for name, text in AWAY),
        ),
    )


def _title(kind: str, given: str, suggested: str | None, tier: str, blind: str) -> str:
    if blind == "given":
        return "What does this show?"
    if kind in BELONGING:
        return f"Does this belong, as {given}?"
    if not suggested:
        return f"Is this {given}?"
    return f"Is this {suggested}?" if tier == "verify" else f"Is this {given}, or {suggested}?"


def about_group(
    loaded: data.Loaded, finding: str, samples: Sequence[int], value: np.ndarray, history: pd.DataFrame
) -> Draft:
    """A group of the same or nearly the same images: which stays, under which label? `value`: see copies.stays."""
    before = copies.standing(history, samples).before(finding)
    rows = loaded.samples.loc[list(samples)]
    train = (rows["split"] == "train").to_numpy(bool)
    of_each = copies.labels_now(samples, rows["label"].astype(object).tolist(), before)
    labels = list(dict.fromkeys(of_each))
    stays = copies.stays(samples, before, train, value)

    def keep(sample: int) -> Decisions:
        return copies.keep_one(samples, sample, before)

    if len(labels) == 1:
        offers = [Offer("one", f"Keep only #{stays}", keep(stays), (KEYS["accept"],), "main")]
        for at, sample in enumerate(samples[: len(COPIES)] if len(samples) > 1 else []):
            if sample != stays:
                offers.append(Offer(f"stay-{at}", f"Keep only #{sample}", keep(sample), (COPIES[at],)))
        title = "Keep one copy only?"
        hint = f"#{stays} would stay: an evaluation copy if there is one, else the one with the lowest loss."
    else:
        offers, codes = [], class_keys(loaded.classes)
        for at, label in enumerate(labels[:9]):
            best = copies.stays(samples, before, train, value, [other == label for other in of_each])
            offers.append(Offer(f"one-{at}", f"It is {label}", keep(best), (codes[label],) * (label in codes)))
        title = "Which label is right?"
        hint = "Choosing a label keeps one copy that carries it and excludes the others."
    all_kept = copies.keep_all(samples, before)
    free = next((row for row in all_kept if row[1] == "keep"), None)
    offers += [
        Offer("all", "Keep all as they are", all_kept, (KEYS["keep"],), "wide"),
        _plain("exclude", "Exclude all", [(sample, "exclude", None) for sample in samples]),
        # On a copy where it hides no decision of another finding.
        _plain("unsure", "Unsure", [(free[0], "unsure", None)] if free else all_kept[:1]),
    ]
    return Draft(title, tuple(offers), hint=hint)


def about_span(loaded: data.Loaded, finding: str, history: pd.DataFrame) -> Draft:
    """A span of a video: is its label, or its place, wrong? Its ends are moved on the Sequences page."""
    videos = data.videos(loaded)
    span = next(videos.spans[videos.spans["span"] == finding].itertuples())
    row = pd.Series(span._asdict())
    frames = videos.frames.iloc[videos.rows[span.sequence]]
    yes = {"relabel": f"Relabel as {span.suggested_label}", "swap": "Exchange the labels", "move": "Restore the order"}
    offers = []
    for choice, text, kind in (
        ("accept", yes[span.how], "main"),
        ("keep", "Keep as given", "wide"),
        ("unsure", "Unsure", "plain"),
    ):
        rows = spans.decide(frames, row, choice)
        left = spans.left_over(history, row, rows, frames)
        decisions = [
            (int(one.sample), one.decision, one.new_label, None if pd.isna(one.new_frame) else int(one.new_frame))
            for table in (left, rows)
            for one in table.itertuples()
        ]
        offers.append(_plain(choice, text, decisions, kind))
    hint = f"The answer is for all {span.frames:,} frames, in one go."
    return Draft(f"{span.sequence}: {claim(span, own_ends(span))}", tuple(offers), hint=hint)


def shown(samples: Sequence[int], kind: str) -> list[int]:
    """The samples of a question whose images are shown: of a span some from all of it."""
    if kind not in queues.SPANS or len(samples) <= MEMBERS:
        return list(samples)
    return [samples[int((at + 0.5) * len(samples) / MEMBERS)] for at in range(MEMBERS)]


def images(
    loaded: data.Loaded, samples: Sequence[int], *, hide_label: bool = False, strip: bool = False
) -> tuple[Shown, ...]:
    """The images or texts of a question, large; of a group, the first `MEMBERS` with label and split below.

    With `strip` they are frames of a video, smaller, with their numbers.
    """
    many = len(samples) > 1
    pictures = []
    for sample in samples[:MEMBERS]:
        picture = data.thumb(loaded, sample, FRAME if strip else SIDE)
        row = loaded.samples.loc[int(sample)]
        label = "" if hide_label or not loaded.labelled else str(row["label"])
        pictures.append(
            Shown(
                f"{loaded.key[0]}@{loaded.stamp}/{sample}{'/frame' * strip}",
                picture.uri if picture else None,
                f"sample {sample}" if hide_label else parts.named(loaded, sample),
                bool(picture and picture.tiny),
                picture.width if picture else 1,
                picture.height if picture else 1,
                f"{row['frame']} {label}" if strip else f"#{sample} {label}" if many else "",
                parts.SPLITS.get(row["split"], "") if many and not strip else "",
                picture.turns if picture else (),
                loaded.noun,
            )
        )
    return tuple(pictures)
