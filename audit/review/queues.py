"""What is asked of the experts and in which order: queues in tiers from findings of all kinds, and the random audit.

A finding is one question. Tiers after CLARIFIER: `verify` (one confident suggestion: yes or no), `correct` (choose
among a few likely labels), `look` (ambiguous: look closer, with the evidence open).
"""

import numpy as np
import pandas as pd

from lossprint.audit.runs.run import Run
from lossprint.scoring import labels as label_scores

TIERS = ("verify", "correct", "look")
AUDIT = "audit"  # kind of a question that nothing but chance asked; its finding is named `audit:SAMPLE`
DUPLICATES = ("duplicate", "near_duplicate")
SPANS = ("sequence_label", "sequence_order")
LIKELY = 5  # labels that are offered first
EVERY = 5  # in a mixed order, each fifth question is one of the random audit
LONGEST = 120.0  # seconds: longer looks were pauses, and count as this much


def items(findings: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """The questions that the findings ask, one row a finding, in the order of the queue.

    findings: rows of findings.parquet; scores: indexed by sample. Columns group (the finding's name), kind, tier,
    samples (list, the suspect one first), suggested_label (None without one), severity in [0, 1], high is suspect.
    Label errors come first, then duplicates, near duplicates and the rest, each most severe first.

    Tiers. Label errors: `verify` where the triage says wrong, `correct` where given and suggested label hold at least
    half of the probability between them, else `look`. Groups: identical images of one label are `verify` (keep one?),
    conflicting ones `correct` (which label?), near ones `look`, like outliers and spans of video.
    """
    order = {kind: at for at, kind in enumerate(("label_error", *DUPLICATES))}
    numbers, names = pd.factorize(findings["group"])
    first = np.unique(numbers, return_index=True)[1]
    by_group = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers))[:-1] if len(findings) else []
    members = np.split(findings["sample"].to_numpy()[by_group], ends) if len(findings) else []
    suggested = findings["suggested_label"].astype(object).to_numpy()[first]
    frame = pd.DataFrame(
        {
            "group": names.astype(object),
            "kind": findings["kind"].astype(object).to_numpy()[first],
            "samples": pd.Series([one.tolist() for one in members], dtype=object),
            "suggested_label": pd.Series([one if isinstance(one, str) else None for one in suggested], dtype=object),
            "severity": findings.groupby(numbers)["severity"].max().to_numpy(float),
        }
    )
    frame["tier"] = _tiers(frame, scores)
    place = frame["kind"].map(order).fillna(len(order))
    frame = frame.assign(place=place).sort_values(["place", "severity"], ascending=[True, False], kind="stable")
    return frame.drop(columns="place").reset_index(drop=True)


def _tiers(frame: pd.DataFrame, scores: pd.DataFrame) -> np.ndarray:
    kind, suggests = frame["kind"], frame["suggested_label"].notna()
    tier = np.full(len(frame), "look", dtype=object)
    tier[(kind == "duplicate") & ~suggests] = "verify"
    tier[(kind == "duplicate") & suggests] = "correct"
    mine = ((kind == "label_error") & suggests).to_numpy()
    if not mine.any():
        return tier
    about = scores.reindex([samples[0] for samples in frame.loc[mine, "samples"]])

    def column(name: str) -> np.ndarray:
        return about[name].to_numpy(float) if name in about else np.full(len(about), np.nan)

    wrong = (about["triage"].astype(object) == "wrong").to_numpy() if "triage" in about else np.zeros(len(about), bool)
    both = np.nan_to_num(column("suggested_probability")) + np.nan_to_num(column("p_mean"))
    tier[mine] = np.where(wrong, "verify", np.where(both >= 0.5, "correct", "look"))
    return tier


# ------------------------------------------------------------------------------------------------- the random audit


def audit_order(train: np.ndarray, flagged: np.ndarray, seed: int) -> np.ndarray:
    """The training samples that no finding names, in the order in which the random audit asks about them.

    train, flagged: sample ids. Any leading part of the order is a simple random sample without replacement of the rest
    of the training split. The same ids and seed give the same order, whatever the order of the ids. Where a new scoring
    flags other samples, the rest keeps its order, so that what was checked by then still counts.
    """
    order = np.random.default_rng([seed, 0xA0D17]).permutation(np.unique(train))
    return order[~np.isin(order, flagged)]


def audit_items(order: np.ndarray) -> pd.DataFrame:
    """Questions of the random audit on these samples, a row each: the columns of `items`."""
    frame = pd.DataFrame({"group": [f"{AUDIT}:{sample}" for sample in order.tolist()]}, dtype=object)
    samples = pd.Series([[sample] for sample in order.tolist()], dtype=object)
    return frame.assign(kind=AUDIT, samples=samples, suggested_label=None, severity=np.nan, tier="verify")


def mixed(queue: pd.DataFrame, audit: pd.DataFrame) -> pd.DataFrame:
    """Both in their own order, each `EVERY`-th question from the audit, so that nobody can tell which is which."""
    after = np.r_[np.arange(len(queue)), (np.arange(len(audit)) + 1) * (EVERY - 1) - 0.5]
    both = pd.concat([queue, audit], ignore_index=True)
    return both.iloc[np.argsort(after, kind="stable")].reset_index(drop=True)


# ------------------------------------------------------------------------------------------------- likely labels


def likely(run: Run, samples: np.ndarray) -> dict[int, list[str]]:
    """The labels that the model thought of while it learned, most likely first, the given one among them.

    For each of the training samples at most `LIKELY`: by the probability of the given label and of the strongest other
    one, summed over the checkpoints with the weights of `checkpoint_weights`. Empty where no predictions were recorded.
    """
    ids, classes = np.unique(np.asarray(samples, np.int64)), run.classes
    checkpoints = run.recorded("train")
    cells, beliefs, steps, fits = [], [], [], []
    given = run.samples(ids.tolist()).set_index("sample")["label"].map({name: i for i, name in enumerate(classes)})
    for step, checkpoint in enumerate(checkpoints):
        part = run.part("train", checkpoint)
        fits.append(label_scores.fit(*(part[name].to_numpy()[None].astype(float) for name in ("loss", "margin"))))
        rows = pd.Index(part["sample"].to_numpy()).get_indexer(ids)
        at = np.flatnonzero(rows >= 0)
        loss, margin, predicted = (
            part[name].to_numpy()[rows[at]].astype(float) for name in ("loss", "margin", "predicted")
        )
        own = given.reindex(ids[at]).to_numpy(float)
        for label, belief in ((own, np.exp(-loss)), (predicted, np.exp(-loss - margin))):
            real = (label >= 0) & np.isfinite(belief) & ((label is own) | (predicted != own))
            cells.append(at[real] * len(classes) + label[real].astype(np.int64))
            beliefs.append(belief[real])
            steps.append(np.full(int(real.sum()), step))
    if not cells:
        return {}
    shares = _weights(run, checkpoints, fits)[np.concatenate(steps)]
    counted = shares >= 1e-6
    cell, inverse = np.unique(np.concatenate(cells)[counted], return_inverse=True)
    total = np.bincount(inverse, weights=(shares * np.concatenate(beliefs))[counted])
    row, label = np.divmod(cell, len(classes))
    best = np.lexsort((label, -total, row))
    row, label = row[best], label[best]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    found: dict[int, list[str]] = {}
    for sample, name in zip(ids[row[rank < LIKELY]].tolist(), label[rank < LIKELY].tolist()):
        found.setdefault(sample, []).append(classes[name])
    return found


def _weights(run: Run, checkpoints: list[int], fits: list[label_scores.Fit]) -> np.ndarray:
    """How much each checkpoint counts (E,), from the validation samples and the fit to the training samples at each."""
    val = run.trajectory("val")
    if run.recorded("val") != checkpoints or not val.losses.shape[1]:
        return label_scores.checkpoint_weights(np.full((len(checkpoints), 1), np.nan))
    train = label_scores.Fit(*(np.concatenate(column) for column in zip(*(vars(one).values() for one in fits))))
    new = label_scores.newness(train, label_scores.fit(val.losses, val.margins))
    return label_scores.checkpoint_weights(val.losses, new)


# ------------------------------------------------------------------------------------------------- what is open


def unanswered_by(reviewer: str, groups: pd.Series, history: pd.DataFrame, assignments: pd.DataFrame) -> np.ndarray:
    """Which findings this reviewer is still to be asked, (N,) bool.

    A finding that is assigned is asked of the reviewers whom it is assigned to until each of them has decided on it. A
    finding that is assigned to nobody is asked until anybody has decided on it.
    """
    standing = history[history["stands"]]
    names = groups.to_numpy(object)

    def among(found: pd.Series) -> np.ndarray:
        return pd.Index(found.astype(object).unique()).get_indexer(names) >= 0

    assigned, mine = among(assignments["finding"]), assignments["reviewer"].astype(object) == reviewer
    to_me = among(assignments.loc[mine, "finding"])
    by_me = among(standing.loc[standing["reviewer"] == reviewer, "finding"])
    return np.where(assigned, to_me & ~by_me, ~among(standing["finding"]))


def next_open(names: list[str], open_now: np.ndarray, skipped: set[str], after: str | None) -> list[str]:
    """The open findings after `after`, round the end; the skipped ones come again when no other is left."""
    start = names.index(after) + 1 if after in names else 0
    ring = [*range(start, len(names)), *range(start)]
    fresh = [names[at] for at in ring if open_now[at]]
    return [name for name in fresh if name not in skipped] + [name for name in fresh if name in skipped]


def seconds_left(tiers: pd.Series, open_now: np.ndarray, seconds: pd.DataFrame) -> float | None:
    """How long a reviewer will need for the open questions, in seconds; None before five answers.

    `seconds` has a row an answer with `tier` and `seconds` (NaN where unknown). The mean time of each tier, looks over
    `LONGEST` cut to it, times the questions of that tier; a tier with under five answers takes the overall mean.
    """
    known = seconds.dropna(subset=["seconds"])
    if len(known) < 5:
        return None
    known = known.assign(seconds=known["seconds"].clip(0, LONGEST))
    overall = known["seconds"].mean()
    by = known.groupby("tier")["seconds"].agg(["mean", "size"])
    each = {tier: row["mean"] for tier, row in by.iterrows() if row["size"] >= 5}
    left = tiers[open_now].value_counts()
    return float(sum(count * each.get(tier, overall) for tier, count in left.items()))
