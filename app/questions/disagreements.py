"""What reviewers who differ said, and what settling it stores. Draws nothing."""

import pandas as pd

from lossprint.app import data
from lossprint.app.elements.keys import KEYS
from lossprint.app.questions import questions
from lossprint.app.shared import decide, parts
from lossprint.audit.review import queues, resolve
from lossprint.audit.types import KIND_WORDS
from lossprint.audit.words import some

FEW = 9  # outcomes with a key of their own


def kind_title(kind: str) -> str:
    """A kind of finding, or of a question without one, as a title."""
    if kind == queues.AUDIT:
        return "Random audit"
    return KIND_WORDS[kind][0] if kind in KIND_WORDS else kind.replace("_", " ").capitalize()


def rows(loaded: data.Loaded) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The disagreements, unsettled ones first, with given label and kind; and the `resolve.votes` on them."""
    history, given = data.reviews(loaded).history(), loaded.samples["label"]
    table = resolve.disagreements(history, given).sort_values(["adjudicated", "sample"], ignore_index=True)
    table["given"] = given.reindex(table["sample"]).astype(object).to_numpy()
    table["kind"] = table["finding"].astype(object).str.split(":", n=1).str[0]
    votes = resolve.votes(history, given)
    return table, votes[votes["sample"].isin(table["sample"])]


def sentences(votes: pd.DataFrame) -> pd.Series:
    """Who answered what, in one line, indexed by sample."""
    each = votes["reviewer"].astype(object) + ": " + votes["outcome"].map(short)
    return each.groupby(votes["sample"]).agg("; ".join)


def short(outcome: str) -> str:
    """An outcome of `resolve.votes` as a word: a label by its name."""
    return outcome.removeprefix("label:")


def suggestion(loaded: data.Loaded, sample: int, finding: str) -> str | None:
    """The label that the finding suggests for the sample, or else the scores; None where it is the given one."""
    rows = loaded.findings[(loaded.findings["sample"] == sample) & (loaded.findings["group"] == finding)]
    for label in rows["suggested_label"].head(1):
        if isinstance(label, str):
            return label if label != loaded.samples.at[sample, "label"] else None
    return parts.suggestion(loaded, sample)


def offers(loaded: data.Loaded, sample: int, suggested: str | None, votes: pd.DataFrame) -> tuple[questions.Offer, ...]:
    """An answer for each outcome of the votes, those of more reviewers first; then what nobody answered."""
    given = str(loaded.samples.at[sample, "label"])
    names = votes.groupby("outcome", sort=False)["reviewer"].agg(list)
    names = names.loc[sorted(names.index, key=lambda outcome: (outcome == "unsure", -len(names[outcome])))]
    texts = {"keep": f"Keep {given}", "exclude": "Exclude", "unsure": "Cannot be told"}
    known, answers = set(decide.labels(loaded)), []
    for at, (outcome, who) in enumerate(names.items()):
        by = some(who, 4)
        keys = (str(at + 1),) if at < FEW else ()
        if outcome.startswith("label:"):
            label = short(outcome)
            text, decisions = f"It is {label}", questions.decide_label(sample, label, given, suggested)
        else:
            text, decisions = texts[outcome], [(sample, outcome, None)]
            keys += (KEYS[outcome],) if outcome != "keep" else ()
        if decisions[0][2] is not None and decisions[0][2] not in known:
            continue  # a class of an earlier labelling, which cannot be stored any more
        answers.append(questions.Offer(f"said-{at}", f"{text} ({by})", decisions, keys, "wide"))
    for decision, text in texts.items():
        if decision not in names.index:
            answers.append(questions.Offer(decision, text, [(sample, decision, None)], (KEYS[decision],)))
    return tuple(answers)


def notice(history: pd.DataFrame, sample: int, votes: pd.DataFrame) -> str:
    """What to know before settling it: that it was settled before, and that one is a party oneself."""
    lines = []
    settled = resolve.adjudications(history[history["sample"] == sample])
    if len(settled):
        last = settled.iloc[-1]
        held = decide.one_in_words(last["decision"], last["new_label"])
        lines.append(f"Settled by {last['reviewer']}: {held}. A new answer replaces it.")
    if decide.reviewer() in set(votes["reviewer"].astype(str)):
        lines.append("You are one of those who differ here: if you can, let somebody else settle it.")
    return " ".join(lines)
