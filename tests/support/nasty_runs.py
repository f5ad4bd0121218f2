"""Recorded runs with everything that can be odd about them, scored in any number of shards."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from lossprint.audit.findings import find, planning
from lossprint.audit.findings.score import score_run
from lossprint.audit.findings.sharding import Shard
from lossprint.audit.runs.open import create_run, open_run
from lossprint.audit.runs.run import Run

CLASSES = ["a", "b", "c", "d", "e"]


TABLES = ("scores", "pairs", "findings")


def nasty_run(folder: Path, kind: str = "plain", train: int = 150, checkpoints: int = 7) -> Run:
    """A recorded run of mixed-up ids with everything that can be odd about what was recorded.

    Wrong labels; constant, missing and infinite losses; samples that are missing from some checkpoints; a class without
    validation samples; two rank files a checkpoint; a checkpoint 0. kind: plain, seeds, folds; `bare` has losses only,
    `late` margins and predictions of the last samples only, `norms` has norms but in one part.
    """
    random = np.random.default_rng(7)
    total = train + 60
    ids = random.permutation(np.arange(total) * 3 + 5)
    split = np.array(["train"] * train + ["val"] * 50 + ["test"] * 10)
    true = random.integers(0, 4, total)
    true[:20] = 4  # of the class e there are training samples only
    given = true.copy()
    wrong = np.arange(20, 50)
    given[wrong] = (true[wrong] + 1) % 4
    table = pd.DataFrame(
        {
            "sample": ids,
            "path": [f"images/{one}.png" for one in ids],
            "label": np.array(CLASSES, object)[given],
            "split": split,
            "sequence": None,
            "frame": None,
        }
    ).astype({**dict.fromkeys(("path", "label", "split", "sequence"), "string"), "frame": "Int64"})
    described = {"source": None, "kind": "table", "root": None, "classes": CLASSES, "counts": {}, "fingerprint": "x"}
    run = create_run(folder / "run", {}, described, 0)
    run.write_samples(table, pd.DataFrame({"path": [], "reason": []}, dtype="string"))
    places = {"seeds": ["", "seed=00001", "seed=00002"], "folds": ["", "fold=000", "fold=001", "fold=002"]}
    for number, name in enumerate(places.get(kind, [""])):
        seen = np.ones(total, bool)
        if name.startswith("fold"):
            seen = (np.arange(total) % 3 == number - 1) | (split != "train")
        steps = checkpoints + (number == 2)  # trainings of unequal length
        for t in range(0, steps if kind != "folds" else checkpoints):
            part = _part(random, kind, t, ids, given, true)
            for of in ("train", "val"):
                mine = np.flatnonzero(seen & (split == of) & (random.random(total) > 0.002 * (of == "train")))
                for rank in (0, 1):
                    half = part.iloc[mine[mine % 2 == rank]]
                    if kind == "norms" and (t, rank, of) == (3, 1, "train"):
                        half = half.drop(columns="el2n")
                    (run.member(name) if name else run).write_part(of, t, half, rank)
    if kind == "plain":  # curvature of some of the samples, at two checkpoints
        for t in (2, 4):
            some = np.sort(ids[: train // 2])
            columns = {name: random.normal(size=len(some)) for name in ("curvature", "trace", "gradient_norm")}
            run.write_curvature(t, pd.DataFrame({"sample": some, **columns}))
    if kind == "norms":
        vectors = random.normal(5, 1, size=(140, 4))
        vectors[::20] = random.normal(0, 1, size=(7, 4))
        run.write_embeddings(np.sort(ids[:140]), vectors)
        run.write_duplicates(
            pd.DataFrame({"sample": ids[:3], "partner": ids[3:6], "kind": "exact", "similarity": [1.0, 0.9, 0.8]})
        )
    return run.finish("record")


def _part(random, kind: str, t: int, ids: np.ndarray, given: np.ndarray, true: np.ndarray) -> pd.DataFrame:
    margin = (true == given) * 6.0 - 2.0 + random.normal(0, 1.5, len(ids)) * (1 + 1 / (t + 1))
    loss = np.log1p(np.exp(-margin)) + 0.1 * random.random(len(ids))
    part = pd.DataFrame({"sample": ids, "loss": loss, "margin": margin, "predicted": np.where(margin > 0, given, true)})
    part.loc[60:62, "loss"] = 0.25  # does not vary
    part.loc[63 + t % 2, "loss"] = np.nan
    part.loc[65, "margin"] = np.inf
    if t == 4:
        part.loc[66, "loss"], part.loc[67, "margin"] = np.inf, np.nan
    if kind in ("norms", "plain"):
        part["el2n"] = 1 - np.exp(-loss)
    if kind == "bare":
        part = part.assign(margin=np.nan, predicted=-1)
    if kind == "late":
        part.loc[part["sample"] < 450, ["margin", "predicted"]] = np.nan, -1
    return part.astype({"loss": np.float32, "margin": np.float32, "predicted": np.int32})


def cut_into(count: int, monkeypatch) -> None:
    """Let runs be scored in `count` shards of unequal sizes."""

    def cut(basis, memory, workers=1):
        inner = np.sort(np.random.default_rng(count).permutation(np.arange(1, len(basis.ids)))[: count - 1])
        edges = [0, *inner.tolist(), len(basis.ids)]
        shards = [
            Shard(number, int(basis.ids[first]), int(basis.ids[last - 1]), first, last - first)
            for number, (first, last) in enumerate(itertools.pairwise(edges))
        ]
        return shards, 0.0

    monkeypatch.setattr(planning, "cut", cut)


def scored(run: Run, count: int, monkeypatch, engine=None) -> dict[str, pd.DataFrame]:
    """The tables of a copy of a run that was scored in `count` shards, and the facts of run.json."""
    copy = run.path.with_name(f"{run.path.name}-{count}-{engine is not None}")
    if copy.exists():
        shutil.rmtree(copy)
    shutil.copytree(run.path, copy)
    cut_into(count, monkeypatch)
    done = find.find_run(score_run(open_run(copy, need="record"), engine))
    assert not (copy / ".scoring").exists()
    tables = {name: pq.read_table(copy / f"{name}.parquet").to_pandas() for name in TABLES}
    return tables | {"facts": done.manifest["facts"]}


def differences(ours: dict, theirs: dict) -> dict[str, float]:
    """The largest difference of each column of numbers; texts, missing values, order and facts must be the same."""
    assert ours["facts"] == theirs["facts"]
    found = {}
    for name in TABLES:
        mine, others = ours[name], theirs[name]
        assert mine.columns.tolist() == others.columns.tolist() and mine.dtypes.tolist() == others.dtypes.tolist()
        for column in mine:
            if mine[column].dtype.kind == "f":
                assert (mine[column].isna() == others[column].isna()).all(), column
                found[f"{name}.{column}"] = float(np.nan_to_num((mine[column] - others[column]).abs().max()))
            else:
                pd.testing.assert_series_equal(mine[column], others[column])
    return found
