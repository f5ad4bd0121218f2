"""What reviewers who differ said, and what settling it stores. Draws nothing."""

import pandas as pd

from lossprint.app import data
from lossprint.app.elements.question import Choice
from lossprint.app.questions import asking
from lossprint.app.shared import decide, parts, story
from lossprint.audit.review import queues, resolve
from lossprint.audit.words import some

FEW = 9  # outcomes with a key of their own


def kind_title(kind: str) -> str:
    """A kind of finding, or of a question without one, as a title."""
    if kind == queues.AUDIT:
        return "Random audit"
    return story.KIND[kind][0] if kind in story.KIND else kind.replace("_", " ").capitalize()


def rows(loaded: data.Loaded) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The disagreements, unsettled ones first, with given label and kind; and the `resolve.votes` on them."""
    history, given = data.reviews(loaded).history(), loaded.samples["label"]
    found = resolve.disagreements(history, given).sort_values(["adjudicated", "sample"], ignore_index=True)
    found["given"] = given.reindex(found["sample"]).astype(object).to_numpy()
    found["kind"] = found["finding"].astype(object).str.split(":", n=1).str[0]
    said = resolve.votes(history, given)
    return found, said[said["sample"].isin(found["sample"])]


def sentences(said: pd.DataFrame) -> pd.Series:
    """Who said what, in one line, indexed by sample."""
    each = said["reviewer"].astype(object) + ": " + said["outcome"].map(short)
    return each.groupby(said["sample"]).agg("; ".join)


def short(outcome: str) -> str:
    """An outcome of `resolve.votes` as a word: a label by its name."""
    return outcome.removeprefix("label:")


def suggestion(loaded: data.Loaded, sample: int, finding: str) -> str | None:
    """The label that the finding suggests for the sample, or else the scores; None where it is the given one."""
    mine = loaded.findings[(loaded.findings["sample"] == sample) & (loaded.findings["group"] == finding)]
    for label in mine["suggested_label"].head(1):
        if isinstance(label, str):
            return label if label != loaded.samples.at[sample, "label"] else None
    return parts.suggestion(loaded, sample)


def choices(
    loaded: data.Loaded, sample: int, suggested: str | None, votes: pd.DataFrame
) -> tuple[tuple[Choice, ...], dict[str, asking.Decisions]]:
    """A choice for each thing that was said, those said by more first; then what nobody said; with what each stores."""
    given = str(loaded.samples.at[sample, "label"])
    who = votes.groupby("outcome", sort=False)["reviewer"].agg(list)
    who = who.loc[sorted(who.index, key=lambda name: (name == "unsure", -len(who[name])))]
    means: dict[str, asking.Decisions] = {}
    made: list[Choice] = []
    for at, (outcome, names) in enumerate(who.items()):
        by = some(names, 4)
        keys = (str(at + 1),) if at < FEW else ()
        if outcome == "keep":
            text, decisions = f"Keep {given}", [(sample, "keep", None)]
        elif outcome.startswith("label:"):
            label = short(outcome)
            text, decisions = f"It is {label}", asking.decide_label(sample, label, given, suggested)
        else:
            text, decisions = "Exclude" if outcome == "exclude" else "Cannot be told", [(sample, outcome, None)]
            keys += ("X" if outcome == "exclude" else "N",)
        if decisions[0][2] is not None and decisions[0][2] not in loaded.classes:
            continue  # a class of an earlier labelling, which cannot be stored any more
        made.append(Choice(f"said-{at}", f"{text} ({by})", keys, "wide"))
        means[f"said-{at}"] = decisions
    for name, text, key in (
        ("keep", f"Keep {given}", "K"),
        ("exclude", "Exclude", "X"),
        ("unsure", "Cannot be told", "N"),
    ):
        if name not in who.index:
            made.append(Choice(name, text, (key,)))
            means[name] = [(sample, name, None)]
    return tuple(made), means


def notice(history: pd.DataFrame, sample: int, votes: pd.DataFrame) -> str:
    """What to know before settling it: that it was settled before, and that one is a party oneself."""
    told = []
    settled = resolve.adjudications(history[history["sample"] == sample])
    if len(settled):
        last = settled.iloc[-1]
        held = decide.one_in_words(last["decision"], last["new_label"])
        told.append(f"Settled by {last['reviewer']}: {held}. A new answer replaces it.")
    if decide.reviewer() in set(votes["reviewer"].astype(str)):
        told.append("You are one of those who differ here: if you can, let somebody else settle it.")
    return " ".join(told)
