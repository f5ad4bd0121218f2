"""One number means one class, in whatever form of a file of losses it stands."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from dataset_files import folder
from helpers import refused

from lossprint.audit.cli import main as cli
from lossprint.audit.recording.imported import read_losses
from lossprint.audit.recording.predicted import indices
from lossprint.audit.types import LossprintError

TWELVE = sorted(str(number) for number in range(12))  # 0, 1, 10, 11, 2, ...


@pytest.mark.parametrize(
    ("classes", "values", "meant"),
    [
        (TWELVE, [10, 2], [2, 4]),
        (TWELVE, ["10", " 2", "-1"], [2, 4, -1]),
        (["cat", "dog"], [1, 0, -1], [1, 0, -1]),
        (["cat", "dog"], ["dog", "cat "], [1, 0]),
        (["5", "6", "7"], [0, 2], [0, 2]),  # no name, and the order is one
        (["1", "2", "3"], [1, 3], [0, 2]),
        (["-1", "1"], [-1, 1], [0, 1]),
        (["007", "cat"], [7], [0]),
        (["007", "7"], ["007", "7"], [0, 1]),
        (["1.0", "10.0", "2.0"], [10, 2], [1, 2]),
        (["0.5", "1.5"], [1], [1]),
    ],
)
def test_what_a_prediction_means(classes, values, meant):
    assert indices(values, classes, "x") == meant


@pytest.mark.parametrize(
    ("classes", "values", "found"),
    [
        ([str(number) for number in range(1, 13)], [0, 11], "the number 0, which is none"),
        (["1", "2", "3"], ["0", "1", "2"], "the number 0, which is none"),
        (["1", "2", "3"], [0, 1, 2], "the number 0, which is none"),
        (["10", "5", "7"], [0, 1, 2], "the number 0, which is none, in a dataset with a class '10'"),
        (["1", "2", "other"], [0, 1, 2], "the number 0, which is none"),
        (["007", "7"], [7], "the number 7, which may be '007' and '7'"),
        (["cat", "dog"], [2], "2"),
        (["cat", "dog"], ["cow"], "'cow'"),
    ],
)
def test_what_is_no_class_or_several_is_refused(classes, values, found):
    with pytest.raises(LossprintError, match=f"in x, found {found}"):
        indices(values, sorted(classes), "x")


@pytest.mark.parametrize("named", [False, True])
def test_a_number_means_the_same_in_each_form(tmp_path, named):
    rng = np.random.default_rng(0)
    samples = pd.DataFrame({"sample": range(60), "path": [f"{at}.png" for at in range(60)]})
    samples["label"] = [str(at % 12) for at in range(60)]
    samples["split"] = ["val" if at % 5 == 0 else "train" for at in range(60)]
    said = rng.integers(0, 12, (60, 4))
    said = said.astype(str) if named else said
    losses, train = rng.random((60, 4)), (samples["split"] == "train").to_numpy()
    parts = {f"{split}_{name}": values[rows] for split, rows in (("train", train), ("val", ~train))
             for name, values in (("losses", losses), ("predicted", said))}  # fmt: skip
    np.savez(tmp_path / "l.npz", **parts)
    rows = [(f"{at}.png", t + 1, losses[at, t], said[at, t]) for at in range(60) for t in range(4)]
    table = pd.DataFrame(rows, columns=["path", "checkpoint", "loss", "predicted"])
    table.to_csv(tmp_path / "l.csv", index=False)
    table.to_csv(tmp_path / "l.csv.gz", index=False)
    table.to_parquet(tmp_path / "l.parquet")
    for file in ("l.npz", "l.csv", "l.csv.gz", "l.parquet"):
        _, checkpoint, found = read_losses(tmp_path / file, samples, TWELVE)[2]
        wanted = [TWELVE.index(str(one)) for one in said[found["sample"], checkpoint - 1]]
        assert found["predicted"].tolist() == wanted, file


def planted(root, order, seed=0):
    """Losses of a folder of cat, dog and owl whose predicted numbers are places in `order`."""
    names = ["cat", "dog", "owl"]
    folder(root / "data", 20, names)
    rng, rows = np.random.default_rng(seed), []
    for name, k in itertools.product(names, range(20)):
        for t in (1, 2, 3, 4):
            logits = rng.normal(0, 0.7, 3)
            logits[names.index(name)] += t
            given = logits[names.index(name)]
            other = np.delete(logits, names.index(name)).max()
            best = order.index(names[int(logits.argmax())])
            rows.append((f"{name}/{k:02d}.png", t, np.log(np.exp(logits).sum()) - given, given - other, best))
    pd.DataFrame(rows, columns=["path", "checkpoint", "loss", "margin", "predicted"]).to_csv(
        root / "l.csv", index=False
    )
    return ["import", root / "l.csv", "--dataset", root / "data", "--out", root / "run", "--quiet"]


def test_numbers_of_classes_in_another_order_are_refused(tmp_path, capsys):
    said = refused(capsys, *planted(tmp_path, ["dog", "owl", "cat"]))
    assert "what is taken for 'cat' is 'dog': write the names of the classes" in said
    assert not (tmp_path / "run").exists()
    with warnings.catch_warnings(action="error"):
        assert cli.main([str(word) for word in planted(tmp_path, ["cat", "dog", "owl"])]) == 0
