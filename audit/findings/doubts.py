"""How far the findings of wrong labels can be trusted: what run.json keeps of it, and the sentences that say so."""

import numpy as np

from lossprint.audit.runs.run import Run
from lossprint.audit.words import hundredths, listed, plural, verb
from lossprint.scoring.strength import FEW, Learnt, Strength, Wrong

KEPT = 100  # doubtful classes that run.json names
RANGES = 1000  # classes of which it says how many of the flagged are wrong
REASONS = ("few", "unlearnt", "mostly")


def facts(run: Run, seen: Learnt, verdict: Strength, sizes: np.ndarray, flagged: np.ndarray, wrong: Wrong) -> dict:
    """What run.json is to say of a run whose losses are of one class a sample; of others nothing.

    classes: the classes with a reason of their own, at most `KEPT`, those with the most flagged samples first. wrong:
    how many of the flagged are, by class of at most `RANGES` of them.
    """
    if run.task != "classes" or len(run.classes) < 2:
        return {}
    own = verdict.few | verdict.unlearnt | verdict.mostly
    first = np.lexsort((np.arange(len(own)), -flagged))
    classes = {
        run.classes[at]: {
            "training": int(sizes[at]),
            "flagged": int(flagged[at]),
            "validation": int(seen.of[at]),
            "right": round(float(seen.right[at]), 2),
            "reasons": [name for name in REASONS if getattr(verdict, name)[at]],
        }
        for at in first[own[first]][:KEPT].tolist()
    }
    accuracy = verdict.accuracy
    return {
        "strength": {
            "accuracy": None if accuracy is None else [round(one, 4) for one in vars(accuracy).values()],
            "validation": int(seen.of.sum()),
            "guess": None if accuracy is None else round(verdict.guess, 4),
            "little": verdict.little,
            "doubtful": int(own.sum()),
            "wrong": {
                "flagged": int(flagged.sum()),
                "low": wrong.low,
                "high": wrong.high,
                "classes": {
                    run.classes[at]: [int(flagged[at]), *wrong.by_class[at].tolist()]
                    for at in first[flagged[first] > 0][:RANGES].tolist()
                },
            },
            "classes": classes,
        }
    }


def sentences(run: Run) -> list[str]:
    """Why the findings of wrong labels are a reading order, a sentence each, without a full stop; none where they are
    more, and none of a run that was scored by an earlier version."""
    kept = run.manifest["facts"].get("score", {}).get("strength")
    if kept is None:
        return []
    lines = []
    if kept["little"]:
        share, low, high = map(hundredths, kept["accuracy"])
        lines.append(
            f"The network learnt little: it names {share} % of {plural(kept['validation'], 'validation sample')} right "
            f"(90 % interval {low} to {high} %; always naming the largest class: {hundredths(kept['guess'])} %). Wrong "
            "labels are a reading order here, not a count: more epochs, --folds, another --model or more samples help"
        )
    flagged = {name: about for name, about in kept["classes"].items() if about["flagged"]}
    if flagged:
        named = [f"{name} ({_why(about)})" for name, about in flagged.items()]
        lines.append(
            f"The network does not know {'this class' if len(flagged) == 1 else 'these classes'} well enough to tell "
            f"{'its' if len(flagged) == 1 else 'their'} wrong labels from right ones, whose flags are a reading order: "
            f"{listed(named, 6)}"
        )
    return lines


def _why(about: dict) -> str:
    """Why a class is doubtful, in a few words."""
    reasons = about["reasons"]
    words = [
        f"{about['flagged']:,} of {plural(about['training'], 'training sample')} {verb(about['flagged'], 'is')} flagged"
    ]
    if "unlearnt" in reasons:
        words.append(f"{round(about['right']):,} of {about['validation']:,} validation samples right")
    elif "few" in reasons and "mostly" not in reasons:
        words.append(f"fewer than {FEW} are too few to learn from")
    return ", ".join(words)
