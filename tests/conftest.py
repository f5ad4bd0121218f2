"""Small datasets cut from the embedded demo, and one real audit of such a one that many tests share."""

import errno
import gc
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import quick  # noqa: F401 (what it leaves out)
from browser import base, chromium, page, runs  # noqa: F401 (fixtures of all browser tests)
from postgres import database, postgresql  # noqa: F401 (fixtures of all tests of the decisions)
from s3 import broken, machine, moto, s3  # noqa: F401 (a server for the tests of data and runs at URLs)

gc.disable()  # until all is imported
DEMO = Path(__file__).parent.parent / "assets" / "demo"
# The key with which runs are signed is made for the tests, and never the user's own.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="lossprint-config-")
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


def pytest_collection_finish() -> None:
    """What is there by now stays: the garbage collector need not look through all of PyTorch again and again."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    shutil.rmtree(os.environ["XDG_CONFIG_HOME"], ignore_errors=True)


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


HERE = ("localhost", "0.0.0.0", "::", "::1", "", None)
ELSEWHERE = []  # what this process tried to reach on another machine


def _refused(place) -> None:
    place = place.decode() if isinstance(place, bytes) else place
    if place not in HERE and not str(place).startswith("127."):
        ELSEWHERE.append(place)
        raise OSError(errno.ENETUNREACH, f"tests reach no other machine, this one tried {place}")


def _guarded(reach, which):
    def guarded(*arguments, **options):
        _refused(which(*arguments))
        return reach(*arguments, **options)

    return guarded


def _host(_socket, address, *_) -> str | None:
    return address[0] if isinstance(address, tuple) else None


socket.socket.connect = _guarded(socket.socket.connect, _host)
socket.socket.connect_ex = _guarded(socket.socket.connect_ex, _host)
socket.getaddrinfo = _guarded(socket.getaddrinfo, lambda host, *_: host)


@pytest.fixture(autouse=True)
def nothing_elsewhere():
    """A test that reaches for another machine fails, also where the code under test forgives it."""
    ELSEWHERE.clear()
    yield
    assert not ELSEWHERE, f"tried to reach {ELSEWHERE}"


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
