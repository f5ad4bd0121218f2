"""What is asked about a finding, and what each answer stores. Draws nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.app import data
from lossprint.app.elements.question import Choice, Shown
from lossprint.app.questions import keeping
from lossprint.app.shared import parts
from lossprint.app.shared.spans import claim, own_ends
from lossprint.audit.review import assigning, queues, strata
from lossprint.audit.video import spans

BLIND = {"Both labels": "", "Given label hidden": "given", "Suggestion hidden": "suggestion"}  # as the URL has them
QUEUES = {
    "Everything": None,
    "Labels": assigning.QUEUES["labels"],
    "Duplicates": assigning.QUEUES["duplicates"],
    "Outliers": assigning.QUEUES["outliers"],
    "Video": assigning.QUEUES["video"],
    "Random audit": (queues.AUDIT,),
    "Spot check": assigning.QUEUES["labels"],  # the label errors in a random order
}
TIERS = {"All tiers": "", "Verify": "verify", "Correct": "correct", "Look closer": "look"}  # as the URL has them
AUDITED = 2000  # questions of the random audit that are there to be asked
SIDE = 900  # pixels of the longer side of an image
FRAME = 480  # of one of several frames of a video
DIGITS = "1234567890"  # the keys of labels; with more classes than that, labels are searched for
MEMBERS = 8  # images of a group that are shown

Decisions = list[tuple]  # sample, decision, new label, and for a place in a video the new frame


@dataclass(frozen=True)
class Asked:
    """A question without its progress: texts, choices, and by the id of a choice the decisions that it stores."""

    title: str
    choices: tuple[Choice, ...]
    means: dict[str, Decisions]
    labels: tuple[str, ...] = ()
    given: str = ""
    suggested: str = ""
    hint: str = ""

    def decisions(self, choice: str, name: Callable[[str], Decisions]) -> Decisions | None:
        """What a choice stores; `name(label)` says it for a label that was searched for. None for an unknown choice."""
        label = choice.removeprefix("label:")
        if label != choice:
            return name(label) if label in self.labels else None
        return self.means.get(choice)


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


def queue(loaded: data.Loaded, which: str, tier: str, mix: bool) -> pd.DataFrame:
    """The questions of a queue of `QUEUES` in their order; of one tier only, or with the random audit mixed in."""
    kinds = QUEUES[which]
    if kinds == (queues.AUDIT,):
        return data.derived(loaded, audit)
    found = data.derived(loaded, items)
    if kinds is not None:
        found = found[found["kind"].isin(kinds)]
    if which == "Spot check":
        of = data.derived(loaded, strata_of)
        found = found.set_index("group", drop=False).loc[of.groups[of.spot]]
    if tier:
        found = found[found["tier"] == tier]
    return queues.mixed(found, data.derived(loaded, audit)) if mix else found.reset_index(drop=True)


def likely(loaded: data.Loaded) -> dict[int, list[str]]:
    """The likely labels of every sample whose label is flagged."""
    flagged = loaded.findings.loc[loaded.findings["kind"] == "label_error", "sample"]
    return queues.likely(loaded.run, flagged.to_numpy())


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
) -> Asked:
    """One image: is the given label right, and if not, which is?

    `likely`: labels, most likely first. `blind` leaves out the given label or the suggestion: then every label that is
    offered could be either, and none stands out.
    """
    if len(classes) == 1:
        return _about_sample(sample, kind)
    few = len(classes) <= len(DIGITS)
    if blind == "suggestion" or suggested == given:
        suggested_shown, first = None, []
    else:
        suggested_shown, first = suggested, [suggested] if suggested else []
    ordered = list(dict.fromkeys([*first, *([] if blind == "suggestion" else likely)]))
    rest = [label for label in classes if label not in ordered]
    if blind == "given":
        # The given label must not stand out by being the only unlikely one that is offered, or by its place.
        named = [*ordered, *rest] if few else list(dict.fromkeys([*ordered, given]))
        named = sorted(named, key=list(classes).index) if few else sorted(named)
    elif tier == "correct":
        named = list(dict.fromkeys([*ordered, given]))
        named += [label for label in rest if label not in named] if few else []
    else:
        named = [label for label in [*ordered, *(rest if few else [])] if label not in (given, suggested_shown)]
    means: dict[str, Decisions] = {}
    choices: list[Choice] = []

    def offer(name: str, text: str, keys: tuple[str, ...], kind: str, decisions: Decisions) -> None:
        choices.append(Choice(name, text, keys, kind))
        means[name] = decisions

    def named_as(label: str) -> Decisions:
        return decide_label(sample, label, given, suggested)

    if blind != "given" and tier != "correct":
        if suggested_shown:
            offer("accept", f"It is {suggested_shown}", ("A",), "main", named_as(suggested_shown))
        offer("keep", f"Keep {given}" if suggested_shown else f"It is {given}", ("K",), "wide", named_as(given))
    for at, label in enumerate(named[: len(DIGITS)]):
        keys = (DIGITS[at],)
        if blind != "given" and tier == "correct":
            keys += ("A",) if label == suggested_shown else ("K",) if label == given else ()
        word = " (given)" if blind != "given" and label == given else ""
        offer(f"name-{at}", f"{label}{word}", keys, "plain", named_as(label))
    offer("exclude", "Exclude", ("X",), "plain", [(sample, "exclude", None)])
    offer("unsure", "Unsure", ("N",), "plain", [(sample, "unsure", None)])
    return Asked(
        _title(kind, given, suggested_shown, tier, blind),
        tuple(choices),
        means,
        labels=() if few else tuple(classes),
        given="" if blind == "given" else given,
        suggested=suggested_shown or "" if blind == "" else "",
        hint="Most likely first, as the model saw it." if tier == "correct" and blind == "" and ordered else "",
    )


def _about_sample(sample: int, kind: str) -> Asked:
    """One sample of a run without labels: does it stay?"""
    offered = (
        ("keep", "Keep it", "K", "main"),
        ("exclude", "Exclude", "X", "plain"),
        ("unsure", "Unsure", "N", "plain"),
    )
    return Asked(
        "Does this belong?" if kind == "outlier" else "Is this right?",
        tuple(Choice(name, text, (key,), how) for name, text, key, how in offered),
        {name: [(sample, name, None)] for name, *_ in offered},
    )


def _title(kind: str, given: str, suggested: str | None, tier: str, blind: str) -> str:
    if blind == "given":
        return "What does this show?"
    if kind == "outlier":
        return f"Does this belong, as {given}?"
    if not suggested:
        return f"Is this {given}?"
    return f"Is this {suggested}?" if tier == "verify" else f"Is this {given}, or {suggested}?"


def about_group(
    loaded: data.Loaded, finding: str, samples: Sequence[int], value: np.ndarray, history: pd.DataFrame
) -> Asked:
    """A group of the same or nearly the same images: which stays, under which label? `value`: see keeping.stays."""
    known = keeping.said(history, samples)
    before = known.before(finding)
    rows = loaded.samples.loc[list(samples)]
    train = (rows["split"] == "train").to_numpy(bool)
    of_each = keeping.labels_now(samples, rows["label"].astype(object).tolist(), before)
    labels = list(dict.fromkeys(of_each))
    means: dict[str, Decisions] = {}
    choices: list[Choice] = []

    def offer(name: str, text: str, key: str, decisions: Decisions, kind: str = "plain") -> None:
        choices.append(Choice(name, text, (key,) if key else (), kind))
        means[name] = decisions

    def one(label: str) -> Decisions:
        among = [other == label for other in of_each]
        return keeping.keep_one(samples, keeping.stays(samples, before, train, value, among), before)

    if len(labels) == 1:
        stays = keeping.stays(samples, before, train, value)
        offer("one", f"Keep only #{stays}", "A", keeping.keep_one(samples, stays, before), "main")
        for at, sample in enumerate(samples[:9] if len(samples) > 1 else []):
            if sample != stays:
                offer(f"stay-{at}", f"Keep only #{sample}", str(at + 1), keeping.keep_one(samples, sample, before))
    else:
        for at, label in enumerate(labels[:9]):
            offer(f"one-{at}", f"It is {label}", str(at + 1), one(label))
    all_kept = keeping.keep_all(samples, before)
    free = next((row for row in all_kept if row[1] == "keep"), None)
    offer("all", "Keep all as they are", "K", all_kept, "wide")
    offer("exclude", "Exclude all", "X", [(sample, "exclude", None) for sample in samples])
    # On a copy where it hides no decision of another finding.
    offer("unsure", "Unsure", "N", [(free[0], "unsure", None)] if free else all_kept[:1])
    if len(labels) > 1:
        hint = "Choosing a label keeps one copy that carries it and excludes the others."
    else:
        hint = f"#{stays} would stay: an evaluation copy if there is one, else the one with the lowest loss."
    title = "Which label is right?" if len(labels) > 1 else "Keep one copy only?"
    return Asked(title, tuple(choices), means, hint=hint)


def about_span(loaded: data.Loaded, finding: str, history: pd.DataFrame) -> Asked:
    """A stretch of a video: is its label, or its place, wrong? Its ends are moved on the Sequences page."""
    videos = data.videos(loaded)
    span = next(videos.spans[videos.spans["span"] == finding].itertuples())
    row = pd.Series(span._asdict())
    frames = videos.frames.iloc[videos.rows[span.sequence]]
    yes = {"relabel": f"Relabel as {span.suggested_label}", "swap": "Exchange the labels", "move": "Restore the order"}
    offered = (
        ("accept", yes[span.how], "A", "main"),
        ("keep", "Keep as given", "K", "wide"),
        ("unsure", "Unsure", "N", "plain"),
    )
    means = {}
    for choice, *_ in offered:
        rows = spans.decide(frames, row, choice)
        left = spans.left_over(history, row, rows, frames)
        means[choice] = [
            (int(one.sample), one.decision, one.new_label, None if pd.isna(one.new_frame) else int(one.new_frame))
            for table in (left, rows)
            for one in table.itertuples()
        ]
    choices = tuple(Choice(name, text, (key,), kind) for name, text, key, kind in offered)
    hint = f"The answer is for all {span.frames:,} frames, in one go."
    return Asked(f"{span.sequence}: {claim(span, own_ends(span))}", choices, means, hint=hint)


def shown(samples: Sequence[int], kind: str) -> list[int]:
    """The samples of a question whose images are shown: of a stretch of video some from all of it."""
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
    made = []
    for sample in samples[:MEMBERS]:
        picture = data.thumb(loaded, sample, FRAME if strip else SIDE)
        row = loaded.samples.loc[int(sample)]
        label = "" if hide_label or not loaded.labelled else str(row["label"])
        made.append(
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
    return tuple(made)
