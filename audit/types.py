"""The nouns of an audit. No I/O here.

Labels are strings everywhere outside the training loop; a class index (in `Trajectory.labels` and in the
column `predicted`) points into the run's sorted list of classes.
"""

from dataclasses import dataclass, field

import numpy as np

SPLITS = ("train", "val", "test")
# What is found: kind of finding -> its title, one of it, several of it, in the words of docs/glossary.md.
KIND_WORDS = {
    "label_error": ("Wrong labels", "wrong label", "wrong labels"),
    "duplicate": ("Exact duplicates", "group of exact duplicates", "groups of exact duplicates"),
    "near_duplicate": ("Near duplicates", "group of near duplicates", "groups of near duplicates"),
    "sequence_label": ("Spans with a wrong label", "span with a wrong label", "spans with a wrong label"),
    "sequence_order": ("Spans out of order", "span out of order", "spans out of order"),
    "outlier": ("Outliers", "outlier", "outliers"),
    "quality": ("Image quality", "image of odd quality", "images of odd quality"),
}
KINDS = tuple(KIND_WORDS)
ALONE = ("label_error", "outlier", "quality")  # kinds whose findings are one sample each
DECISIONS = ("accept", "keep", "relabel", "reorder", "exclude", "unsure", "undo")


LONGEST = 3000  # characters of a fault's line


class LossprintError(Exception):
    """A known fault, said in one line: what was expected, what was found, where. The command line exits with 2.

    Names in it may come from strangers: what a terminal would obey or turn around is spelled out, as `\\x1b`.
    """

    def __init__(self, line: object = ""):
        text = printable(str(line))
        if len(text) > LONGEST:
            text = f"{text[: LONGEST * 2 // 3]} ... {text[-LONGEST // 3 :]}"
        super().__init__(text)


def printable(text: str, kept: str = "") -> str:
    """A text for a terminal: what it would obey or turn around is spelled out; signs in `kept` stay."""
    return "".join(one if one.isprintable() or one in kept else repr(one)[1:-1] for one in text)


def one_line(error: BaseException, most: int = 300) -> str:
    """What an error of somebody else's says, or its name, fit for the line of a LossprintError."""
    return " ".join(str(error).split())[:most] or type(error).__name__


@dataclass(frozen=True)
class Trajectory:
    """The losses of N samples of one split at E checkpoints, rows ordered by sample id.

    samples (N,) int64, labels (N,) int32 class indices, checkpoints (E,) int64 ascending, losses (E, N) float32 natural
    log, NaN where a sample was not recorded. margins (E, N) float32: logit of the given label minus the largest other
    logit. predicted (E, N) int32: index of the largest logit, -1 where not recorded. norms (E, N) float32:
    |p - onehot|, of which EL2N is the mean. The last three are None in runs that were recorded without them.
    """

    samples: np.ndarray
    labels: np.ndarray
    checkpoints: np.ndarray
    losses: np.ndarray
    margins: np.ndarray | None = None
    predicted: np.ndarray | None = None
    norms: np.ndarray | None = None

    def trained(self) -> "Trajectory":
        """Without checkpoint 0, the initial weights: the papers' authors never log it, so no score counts it."""
        if not len(self.checkpoints) or self.checkpoints[0] > 0:
            return self
        arrays = (self.losses, self.margins, self.predicted, self.norms)
        rest = [None if a is None else a[1:] for a in arrays]
        return Trajectory(self.samples, self.labels, self.checkpoints[1:], *rest)


@dataclass(frozen=True)
class Finding:
    """Something to look at: a kind of `KINDS`, the samples it is about, the suspect one first, severity in [0, 1].

    `suggested_label` is for all of them, unless `labels` gives each its own. The name is the same for the members of a
    group, and stays the same when the run is scored again.
    """

    kind: str
    samples: tuple[int, ...]
    severity: float
    suggested_label: str | None = None
    evidence: dict = field(default_factory=dict)
    labels: tuple[str | None, ...] | None = None

    @property
    def name(self) -> str:
        """The stable name that reviews refer to, such as `label_error:17`; a group is named by its smallest sample."""
        return f"{self.kind}:{min(self.samples)}"


@dataclass(frozen=True)
class Review:
    """One decision of a reviewer on one sample. Append-only: an `undo` names the review it takes back in `undoes`.

    `finding` is the name of a Finding, or `audit:SAMPLE` for a sample of the random audit. `blind` says what was hidden
    from the reviewer: `given`, `suggestion` or nothing; `seconds` how long the question was looked at; `role` is
    `adjudication` where a disagreement was settled, `import` where the decision was made in another tool. `token` names
    the question that was answered: a second row with the same token is not stored.

    A row with `new_frame` answers where a video frame stands, not what its label is: `reorder` names the frame number
    that it should have, `keep` and `unsure` repeat the one that it has. Both questions may be answered of one sample.
    """

    finding: str
    sample: int
    decision: str
    reviewer: str
    at: str
    new_label: str | None = None
    comment: str = ""
    id: int | None = None
    undoes: int | None = None
    blind: str = ""
    seconds: float | None = None
    role: str = ""
    token: str | None = None
    new_frame: int | None = None


@dataclass(frozen=True)
class Selection:
    """A coreset and all that is needed to make it again."""

    name: str
    method: str
    budget: dict
    samples: tuple[int, ...]
    params: dict = field(default_factory=dict)
