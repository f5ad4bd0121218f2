"""Small datasets cut from the embedded demo, and one real audit of such a one that many tests share."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from browser import base, chromium, context, page, runs  # noqa: F401 (fixtures of all browser tests)
from postgres import database, postgresql  # noqa: F401 (fixtures of all tests of the decisions)
from s3 import broken, machine, moto, s3  # noqa: F401 (a server for the tests of data and runs at URLs)

DEMO = Path(__file__).parent.parent / "assets" / "demo"
DURATIONS = Path(__file__).parent.parent / ".ci" / "durations.txt"


def cut_demo(folder: Path, train: int, val: int, labels: tuple[str, ...] = ("bag", "dress", "sandal")) -> Path:
    """A manifest dataset with `train` and `val` images of each of the labels; the path of its labels.csv."""
    table = pd.read_csv(DEMO / "labels.csv", dtype=str, keep_default_na=False)
    table = table[table["label"].isin(labels)]
    parts = [
        rows.head({"train": train, "val": val, "test": 0}[split])
        for (_, split), rows in table.groupby(["label", "split"])
    ]
    table = pd.concat(parts).sort_values("path")
    (folder / "images").mkdir(parents=True)
    for path in table["path"]:
        shutil.copyfile(DEMO / path, folder / path)
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def pytest_collection_modifyitems(items) -> None:
    """The longest files first, for `--dist loadfile`: the last one does not run alone. New files come first, too."""
    table = DURATIONS.read_text(encoding="utf-8").splitlines()[1:]
    seconds = {name: float(number) for number, name in map(str.split, table)}
    items.sort(key=lambda item: -seconds.get(item.path.name, 1e9))


@pytest.fixture(scope="session", autouse=True)
def nothing_kept(tmp_path_factory):
    """Neither weights that were downloaded on this machine nor features of earlier audits are at hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("no-weights")))
        patch.setenv("LOSSPRINT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def no_shared_database(monkeypatch):
    monkeypatch.delenv("LOSSPRINT_DATABASE_URL", raising=False)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory) -> Path:
    """300 training and 45 validation images of three classes."""
    return cut_demo(tmp_path_factory.mktemp("small"), 100, 15)


@pytest.fixture(scope="session")
def audited(small_dataset, tmp_path_factory) -> Path:
    """The run folder of a real audit of `small_dataset` with 6 epochs; not to be changed: copy it first."""
    from lossprint.audit.workflow.audit import audit

    out = tmp_path_factory.mktemp("audited") / "run"
    audit(str(small_dataset), out, epochs=6, curvature_checkpoints=2, quiet=True)
    return out
