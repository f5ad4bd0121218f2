"""More samples to ask about, after a few have been decided: of one confusion, or that look like the chosen ones.

Features are the run's own embeddings, of a frozen backbone or of the network that it trained. Samples that somebody has
decided on already are left out, and their decided labels count as labels.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError
from lossprint.audit.words import some
from lossprint.scoring.heads import blocks, lda, more_like

COLUMNS = ["rank", "sample", "path", "label", "value"]


def of_confusion(run: Run, given: str, corrected: str, number: int = 20) -> pd.DataFrame:
    """Training samples labelled `given`, those first that look most like `corrected`: rank, sample, path, label, value.

    value: log-odds of the corrected against the given label, out of fold, high is suspect: above 0 the features fit the
    corrected label better. LossprintError without embeddings, or for a class that the run does not have.
    """
    classes = run.classes
    for label in (given, corrected):
        if label not in classes:
            raise LossprintError(f"expected a class of {run.path}, found {label!r}: it has {some(classes, 10)}")
    if given == corrected:
        raise LossprintError(f"expected two classes that are confused, found {given!r} twice")
    table, vectors = _seen(run, "train")
    latest = _decided(run).drop_duplicates("sample", keep="last").set_index("sample")
    labels = table["sample"].map(latest["new_label"]).astype(object).fillna(table["label"])
    known = labels.isin(classes).to_numpy()  # a reviewer may have named a class that no sample had
    table, labels = table[known], labels[known]
    codes = pd.Index(classes).get_indexer(labels)
    answers, _ = lda.shuffled(blocks.prepare(vectors[known]), codes, len(classes), rounds=1)
    out = np.flatnonzero(table["sample"].isin(latest.index))
    rows, odds = more_like.same_confusion(
        answers.discriminant, codes, classes.index(given), classes.index(corrected), out
    )
    return _ranked(table, rows[:number], odds[:number])


def like(run: Run, samples: Sequence[int], kept: Sequence[int] = (), number: int = 50) -> pd.DataFrame:
    """Samples of all splits that look like `samples` and not like `kept`: rank, sample, path, label, value.

    value: see `scoring.more_like.look_alikes`, high is like them. Any label and any split; `kept` are ids of samples
    that are fine. LossprintError without embeddings, and for ids that have none.
    """
    table, vectors = _seen(run)
    place = pd.Series(np.arange(len(table)), table["sample"].to_numpy())
    absent = [int(one) for one in (*samples, *kept) if one not in place.index]
    if absent or not len(samples):
        raise LossprintError(f"expected samples with an embedding in {run.path}, found {some(absent, 10) or 'none'}")
    decided = place.reindex(_decided(run)["sample"].unique()).dropna().to_numpy(np.int64)
    rows, values = more_like.look_alikes(
        vectors, place[list(samples)].to_numpy(), place[list(kept)].to_numpy(np.int64), number=number, leave=decided
    )
    return _ranked(table, rows, values)


def _decided(run: Run) -> pd.DataFrame:
    with open_reviews(run) as reviews:
        return reviews.current()


def _seen(run: Run, split: str | None = None) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of samples.parquet that have an embedding, and these (N, d)."""
    embedded = run.embeddings()
    if embedded is None or not len(embedded[0]):
        raise LossprintError(f"expected a run with embeddings, found none in {run.path}: losses alone show no likeness")
    ids, vectors = embedded
    table = run.samples().set_index("sample")
    table = table[table.index.isin(ids) & (True if split is None else (table["split"] == split))].reset_index()
    return table, vectors[pd.Index(ids).get_indexer(table["sample"])]


def _ranked(table: pd.DataFrame, rows: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    ranked = table.iloc[rows][["sample", "path", "label"]].assign(value=values, rank=np.arange(1, len(rows) + 1))
    return ranked[COLUMNS].reset_index(drop=True)
