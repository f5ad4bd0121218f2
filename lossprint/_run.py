"""A run in the hands of somebody at a prompt or in a notebook: its tables, its pictures, its decisions."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lossprint.audit.findings import doubts, table, unjudged
from lossprint.audit.review.reviews import Reviews, open_reviews
from lossprint.audit.runs import open as runs
from lossprint.audit.runs.run import Run as Folder
from lossprint.audit.types import SPLITS, LossprintError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from lossprint._cleaned import Cleaned


@dataclass(frozen=True, eq=False)
class LossPrints:
    """The losses of N samples at E checkpoints, rows as asked for: what `lossprint.scoring` takes.

    samples (N,) ids, labels (N,) indices into `classes`, checkpoints (E,), losses (N, E) in nats, NaN where a sample
    was not recorded. margins (N, E): the given label's logit minus the largest other one; predicted (N, E): the class
    of the largest logit, -1 where unknown; norms (N, E), of which EL2N is the mean. The last three are None where they
    were not recorded. Checkpoint 0, the initial weights, is left out, as in all scores.
    """

    classes: list[str]
    samples: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    checkpoints: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float32]
    margins: npt.NDArray[np.float32] | None = None
    predicted: npt.NDArray[np.int32] | None = None
    norms: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"<lossprint.LossPrints: {len(self):,} samples, {len(self.checkpoints):,} checkpoints>"

    @property
    def frame(self) -> pd.DataFrame:
        """The losses as a table, a row a sample and a column a checkpoint."""
        index, columns = pd.Index(self.samples, name="sample"), pd.Index(self.checkpoints, name="checkpoint")
        return pd.DataFrame(self.losses, index, columns)


class Run:
    """An opened run. Tables are DataFrames; nothing here changes the run but `decide` and `undo`.

    A notebook shows what was found. `folder` is the run folder with all that it holds, see `audit.runs.run.Run`.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @property
    def path(self) -> Path:
        """Where the run folder is."""
        return self.folder.path

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self.folder.name

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of their indices."""
        return self.folder.classes

    @property
    def task(self) -> str:
        """What the losses are of: classes, multi-label, regression or text."""
        return self.folder.task

    @property
    def manifest(self) -> dict[str, Any]:
        """What run.json says: what was asked, versions, the dataset, stages, facts."""
        return self.folder.manifest

    # Tables -----------------------------------------------------------------------------------------------------

    def samples(self, split: str | None = None) -> pd.DataFrame:
        """The samples of all splits, or of one: sample, path, label, split, sequence, frame."""
        frame = self.folder.samples()
        return frame if split is None else frame[frame["split"] == _split(split)].reset_index(drop=True)

    def scores(self) -> pd.DataFrame:
        """One row a training sample, one column a score; what each means stands in the documentation of the scores."""
        return self.folder.scores()

    def findings(self, kind: str | Iterable[str] | None = None, *, top: int | None = None) -> pd.DataFrame:
        """What deserves a look: kind, sample, path, label, suggested_label, severity in [0, 1], rank, group.

        Of one kind or several (label_error, duplicate, near_duplicate, sequence_label, sequence_order, outlier), the
        first `top` of each. `group` names the finding, such as label_error:17; a group of copies has several rows.
        """
        kinds = () if kind is None else (kind,) if isinstance(kind, str) else tuple(kind)
        return table.findings_of(self.folder, kinds, top)

    def counts(self) -> dict[str, int]:
        """How many findings of each kind there are."""
        return table.counts(self.folder)

    def unjudged(self) -> list[str]:
        """What could not be judged, and why, a sentence each: no finding says nothing about these samples."""
        return unjudged.sentences(self.folder)

    def doubts(self) -> list[str]:
        """Why the findings of wrong labels are a reading order and no count, a sentence each; none where they are."""
        return doubts.sentences(self.folder)

    def pairs(self, sample: int | None = None) -> pd.DataFrame:
        """The validation samples whose losses go with a training sample's or against it; of one, or of all."""
        return self.folder.pairs(sample)

    def duplicates(self) -> pd.DataFrame:
        """Pairs of copies: sample, partner, kind (exact, near), similarity in [0, 1]."""
        return self.folder.duplicates()

    def trajectory(self, split: str = "train", samples: Iterable[int] | None = None) -> LossPrints:
        """The losses of a split by sample and checkpoint, or of some of its samples, in the order asked for.

        All of it is read into memory: 12 bytes a sample and checkpoint. Raises LossprintError for a sample that the
        split does not have.
        """
        ids = None if samples is None else np.array([int(one) for one in samples], np.int64)
        between = None if ids is None or not len(ids) else (int(ids.min()), int(ids.max()))
        held = self.folder.trajectory(_split(split), between=between).trained()
        rows = slice(None) if ids is None else self._rows(held.samples, ids, split)
        arrays = (held.losses, held.margins, held.predicted, held.norms)
        turned = [None if array is None else np.ascontiguousarray(array.T[rows]) for array in arrays]
        return LossPrints(self.classes, held.samples[rows], held.labels[rows], held.checkpoints, *turned)

    def _rows(self, known: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], split: str) -> npt.NDArray[np.intp]:
        rows = np.searchsorted(known, ids)
        here = np.zeros(len(ids), bool)
        here[rows < len(known)] = known[rows[rows < len(known)]] == ids[rows < len(known)]
        if not here.all():
            strange = int(ids[~here][0])
            place = self.folder.samples([strange], ["split"])["split"].tolist()
            words = f"{strange}, of the split {place[0]}" if place else strange
            raise LossprintError(f"expected samples of the split {split} of {self.path}, found {words}")
        return rows

    # Decisions --------------------------------------------------------------------------------------------------

    def decide(
        self,
        finding: str,
        decision: str,
        *,
        reviewer: str,
        label: str | None = None,
        samples: Iterable[int] | None = None,
        comment: str = "",
        new_class: bool = False,
    ) -> pd.DataFrame:
        """Store what a reviewer says of a finding, such as `label_error:17`; on the disk when this returns.

        decision: accept (the suggested label), keep (the given one), relabel (to `label`), exclude or unsure. It is
        about all samples of the finding, or about `samples`; which copy of a group is excluded must be said. With
        `new_class`, `label` may be a class that the dataset does not have: exports have it, undo removes it. Returns
        the rows stored. Raises LossprintError for an unknown finding or label, and where there is no suggestion.
        """
        rows = self.folder.findings()
        rows = rows[rows["group"] == finding]
        if rows.empty:
            raise LossprintError(f"expected a finding of {self.path} such as label_error:17, found {finding!r}")
        wanted = None if samples is None else [int(one) for one in samples]
        if wanted is None and decision in ("exclude", "relabel") and len(rows) > 1:
            raise LossprintError(
                f"expected samples=[...] beside {decision!r} of {finding}, which has the samples "
                f"{', '.join(map(str, rows['sample']))}, found none"
            )
        if wanted is not None:
            strange = [one for one in wanted if one not in set(rows["sample"])]
            if strange or not wanted:
                raise LossprintError(
                    f"expected samples of {finding}, found {strange[0] if strange else 'none'}; it has "
                    f"{', '.join(map(str, rows['sample']))}"
                )
            rows = rows[rows["sample"].isin(wanted)]
        if decision == "accept" and rows["suggested_label"].isna().any():
            raise LossprintError(f"expected a finding with a suggested label to accept, found none for {finding}")
        if label is not None and decision != "relabel":
            raise LossprintError(f"expected a label with 'relabel' alone, found {label!r} with {decision!r}")
        new = {"accept": rows["suggested_label"].tolist(), "relabel": [label] * len(rows)}
        shared = {"finding": finding, "decision": decision, "reviewer": reviewer, "comment": comment}
        shared |= {"new_class": new_class}
        labels = new.get(decision, [None] * len(rows))
        told = [shared | {"sample": int(one), "new_label": name} for one, name in zip(rows["sample"], labels)]
        with self._reviews() as reviews:
            stored = {row.id for row in reviews.add_all(told)}
            history = reviews.history()
        return history[history["id"].isin(stored)].reset_index(drop=True)

    def undo(self, reviewer: str) -> bool:
        """Take back the reviewer's latest decision that stands; again to go further back. False: nothing is left."""
        with self._reviews() as reviews:
            return reviews.undo(reviewer) is not None

    def decisions(self, rule: str | None = None) -> pd.DataFrame:
        """Every decision, oldest first, `stands` False for those taken back; or by a rule the one that holds a sample.

        rule: latest, majority, settled, adjudicated or reviewer:NAME.
        """
        with self._reviews() as reviews:
            return reviews.history() if rule is None else reviews.current(rule)

    def _reviews(self) -> Reviews:
        return open_reviews(self.folder)

    def cleaned(self, *, rule: str = "latest", unsure: str = "keep") -> "Cleaned":
        """The dataset as decided, see `lossprint.cleaned`."""
        from lossprint._cleaned import Cleaned
        from lossprint.audit.export.applied import applied

        return Cleaned(applied(self.folder, apply=rule, unsure=unsure))

    def report(self, out: str | Path) -> Path:
        """Write what was audited, found and decided as one HTML file."""
        from lossprint.audit.report.write import write_report

        return Path(write_report(self.folder, out))

    # Pictures ---------------------------------------------------------------------------------------------------

    def plot_loss_print(self, sample: int | Iterable[int], *, dark: bool = False) -> "Figure":
        """The loss of a sample, or of several, by checkpoint, over the mean and the band of its class."""
        from lossprint import _plots

        samples = [int(sample)] if isinstance(sample, int | np.integer) else [int(one) for one in sample]
        return _plots.loss_print(self, samples, dark)

    def plot_learning(self, what: str = "loss", *, dark: bool = False) -> "Figure":
        """Mean `loss`, or `accuracy`, of the training and the validation samples by checkpoint."""
        from lossprint import _plots

        return _plots.learning(self, what, dark)

    def plot_score(self, name: str, *, dark: bool = False) -> "Figure":
        """How a score is distributed over the training samples, its suspect end coloured."""
        from lossprint import _plots

        return _plots.score(self, name, dark)

    # What it looks like -----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<lossprint.Run {str(self.path)!r}: {self._size()}>"

    def _size(self) -> str:
        counts = self.manifest["dataset"].get("counts", {})
        of = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if counts.get(split))
        return f"{of or 'samples not counted'}; {len(self.classes):,} classes"

    def _repr_html_(self) -> str:
        """What a notebook shows: sizes, findings of each kind, what could not be judged."""
        from html import escape

        number = 'style="text-align:right"'
        found = {kind: count for kind, count in self.counts().items() if count} if "find" in self.folder.stages else {}
        rows = "".join(f"<tr><td>{kind}</td><td {number}>{count:,}</td></tr>" for kind, count in found.items())
        left = "".join(f"<li>{escape(sentence)}</li>" for sentence in [*self.doubts(), *self.unjudged()])
        return (
            f"<p><b>lossprint.Run</b> {escape(str(self.path))}<br>{escape(self._size())}</p>"
            f"<table><tr><th>kind</th><th>findings</th></tr>{rows or '<tr><td>none</td><td></td></tr>'}</table>"
            + (f"<ul>{left}</ul>" if left else "")
        )


def folder_of(run: "Run | Folder | str | Path") -> Folder:
    """The run folder of whatever a caller has."""
    if isinstance(run, Run):
        return run.folder
    return run if isinstance(run, Folder) else runs.open_run(run)


def open_run(path: str | Path, *, whole: bool = True) -> Run:
    """Open a run folder that is whole, or with whole=False one half written too.

    Raises LossprintError, in one line, where there is none.
    """
    return Run(runs.open_run(path, need="find" if whole else None))


def run_audit(dataset: str | Path, out: str | Path, *, resume: bool = False, quiet: bool = True, **options: Any) -> Run:
    """`lossprint audit`: train a proxy on a DATASET, record every sample's loss, score and find.

    `options` are those of `audit.workflow.audit.Options`, such as model, epochs, seed, folds, device.
    """
    from lossprint.audit.workflow.audit import audit

    return Run(audit(str(dataset), out, resume=resume, quiet=quiet, **options))


def score(run: Run | Folder | str | Path, *, quiet: bool = True, partial: bool = False) -> Run:
    """`lossprint score`: scores and findings of what is recorded, once more; no training.

    With `partial` a recording that was cut off is scored to its last whole checkpoint.
    """
    from lossprint.audit.workflow.score import score as work

    path = run if isinstance(run, str | Path) else run.path
    return Run(work(path, quiet=quiet, partial=partial))


def _split(name: str) -> str:
    if name not in SPLITS:
        raise LossprintError(f"expected a split of {', '.join(SPLITS)}, found {name!r}")
    return name
