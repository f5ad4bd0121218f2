"""A run folder decides nothing about where images are read from: only who uses it does."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
from fuzz_programs import command
from helpers import make_run
from PIL import Image

from lossprint.app import data
from lossprint.audit.datasets.dataset import sample_reader
from lossprint.audit.recording import moved
from lossprint.audit.report.write import report_bytes
from lossprint.audit.runs import keys, places
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError

WATCHED: list[tuple[str, list[str]]] = []  # of each watch that is on: the place, and what was touched there


def _touched(event: str, arguments: tuple) -> None:
    for place, seen in WATCHED:
        if event in ("socket.connect", "socket.getaddrinfo"):
            seen.append(f"{event} {arguments[-1] if event == 'socket.connect' else arguments[0]}")
        elif event in ("open", "os.listdir", "os.scandir", "os.link", "shutil.copyfile") and arguments:
            name = arguments[0]
            if isinstance(name, (str, bytes, os.PathLike)) and os.fsdecode(name).startswith(place):
                seen.append(f"{event} {os.fsdecode(name)}")


sys.addaudithook(_touched)


@pytest.fixture
def private(tmp_path):
    """A folder that a stranger's run names, and what was opened or listed in it or connected to from here on."""
    folder = tmp_path / "private"
    folder.mkdir()
    seen: list[str] = []
    WATCHED.append((str(folder), seen))
    yield folder, seen
    WATCHED.pop()


def foreign(run, **dataset):
    """The run as somebody else made it: with another key's signature, and these places."""
    file = run.path / "run.json"
    manifest = json.loads(file.read_text())
    manifest["dataset"] |= dataset
    manifest["place"] = "0" * 64
    file.write_text(json.dumps(manifest))
    return open_run(run.path)


def moved_into(run, folder: Path):
    """The images of a made run in another folder, and the run as a stranger's that names it."""
    there = run.path.parent / "data"
    for one in there.iterdir():
        shutil.move(one, folder / one.name)
    kind = run.manifest["dataset"]["kind"]
    source = folder / "labels.csv" if kind == "manifest" else folder
    return foreign(run, source=str(source), root=str(folder))


OUTPUTS = (
    ["export", "cleaned", "RUN", "--out", "tree"],
    ["export", "cleaned", "RUN", "--out", "tree", "--link", "hardlink"],
    ["export", "manifest", "RUN", "--out", "manifest.csv"],
    ["coreset", "evaluate", "RUN", "--methods", "random", "--fractions", "0.5", "--seeds", "1", "--quiet"],
)


@pytest.mark.parametrize("words", OUTPUTS, ids=lambda words: " ".join(words[:2] + words[5:6]))
def test_a_command_reads_no_place_that_only_a_run_names(words, private, tmp_path):
    folder, seen = private
    run = moved_into(make_run(tmp_path / "one"), folder)
    seen.clear()
    out = str(tmp_path / words[words.index("--out") + 1]) if "--out" in words else ""
    words = [{"RUN": str(run.path), Path(out).name: out}.get(one, one) for one in words]
    status, said = command(words)
    assert status == 2 and said.count("\n") <= 1, said
    assert str(folder) in said and "--dataset" in said
    assert not seen and not (out and Path(out).exists())
    status, said = command([*words, "--dataset", str(folder / "labels.csv")])
    assert status == 0, said
    status, said = command(words if not out else [one if one != out else f"{out}2{Path(out).suffix}" for one in words])
    assert status == 0, said  # named once


PLACES = {
    "http": {"source": "http://127.0.0.1:9/x", "root": "http://127.0.0.1:9/x", "kind": "remote"},
    "https table": {"source": "https://evil.invalid/x.csv", "root": "https://evil.invalid", "kind": "remote"},
    "ftp": {"source": "ftp://evil.invalid/x", "root": "ftp://evil.invalid/x", "kind": "remote"},
    "file": {"source": "file:///etc", "root": "file:///etc", "kind": "remote"},
    "the root": {"source": "/", "root": "/", "kind": "folder"},
    "s3": {"source": "s3://bucket/x", "root": "s3://bucket/x", "kind": "remote"},
    "shards": {"source": "http://evil.invalid/{0..9}.tar", "root": "http://evil.invalid", "kind": "webdataset"},
    "Hugging Face": {"source": "hf:evil/data", "root": "", "kind": "huggingface"},
    "torchvision": {"source": "torchvision:MNIST:/etc", "root": "/etc", "kind": "torchvision"},
    "texts": {"source": "/etc/texts.jsonl", "root": "/etc", "kind": "text", "media": "text"},
    "out of its frames": {"source": "frames/../../data/labels.csv", "root": "frames/../../data", "kind": "manifest"},
}


@pytest.mark.parametrize("places_of", PLACES.values(), ids=PLACES)
def test_neither_app_nor_report_goes_there(places_of, private, tmp_path):
    _, seen = private
    run = foreign(make_run(tmp_path / "one"), **places_of)
    assert not places.believed(run)
    with pytest.raises(LossprintError, match="--dataset"):
        places.dataset_of(run)
    assert data.image(data.load(run.path), 1) is None
    assert b"data:image/" not in report_bytes(run)
    for words in OUTPUTS[:3]:
        status, said = command([words[0], words[1], str(run.path), "--out", str(tmp_path / words[4])])
        assert status == 2 and said.count("\n") <= 1
    assert not seen


def test_its_own_folder_may_be_read_and_what_links_name_may_not(tmp_path, private):
    folder, seen = private
    run = make_run(tmp_path / "one")
    shutil.move(tmp_path / "one" / "data", run.path / "frames")
    own = {"source": "frames/labels.csv", "root": "frames"}
    opened = foreign(run, **own)
    assert places.believed(opened)
    path = opened.samples().loc[0, "path"]
    assert sample_reader(places.dataset_of(opened))(path).size == (12, 12)
    assert not places.believed(foreign(run, **own, choices={"follow_links": True}))
    assert not places.believed(foreign(run, **own | {"kind": "folder", "choices": {}}))
    opened = foreign(run, **own | {"kind": "manifest", "choices": {}})
    secret = folder / "secret.png"
    Image.new("RGB", (9, 9)).save(secret)
    (run.path / "frames" / path).unlink()
    (run.path / "frames" / path).symlink_to(secret)
    seen.clear()
    with pytest.raises(LossprintError, match="leads out"):
        sample_reader(places.dataset_of(opened))(path)
    text = (run.path / "frames" / "labels.csv").read_text()
    (run.path / "frames" / "labels.csv").write_text(text + "http://evil.invalid/x.png,coat,train\n")
    assert not places.believed(open_run(run.path))
    (run.path / "frames" / "labels.csv").write_text(text)
    assert places.believed(open_run(run.path))
    shutil.move(run.path / "frames", folder / "frames")
    (run.path / "frames").symlink_to(folder / "frames")
    seen.clear()
    with pytest.raises(LossprintError, match="found the link"):
        open_run(run.path)
    assert not any("images" in one for one in seen)


def test_the_one_who_made_it_is_not_asked_and_others_are(tmp_path, monkeypatch):
    run = make_run(tmp_path / "one")
    assert places.believed(open_run(run.path))
    assert places.believed(open_run(shutil.copytree(run.path, tmp_path / "copy")))
    for change in ({"source": "/etc/x.csv"}, {"root": "/"}, {"kind": "folder"}, {"choices": {"follow_links": True}}):
        manifest = json.loads((run.path / "run.json").read_text())
        copied = shutil.copytree(run.path, tmp_path / f"changed-{len(list(tmp_path.iterdir()))}")
        manifest["dataset"] |= change
        (copied / "run.json").write_text(json.dumps(manifest))
        assert not places.believed(open_run(copied)), change
    for name in ("_machine", "_user"):
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(keys, name, lambda: "another")
            assert not places.believed(open_run(run.path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert not places.believed(open_run(run.path))
    places.confirm(open_run(run.path))
    places._named.clear()
    assert places.believed(open_run(run.path)) and not places.believed(open_run(copied))
    assert (tmp_path / "config" / "lossprint" / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "config" / "lossprint" / "key").chmod(0o644)
    assert not places.believed(open_run(run.path))


def test_a_key_that_cannot_be_kept_hinders_no_run(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    run = make_run(tmp_path / "one")
    assert not places.believed(open_run(run.path))
    with pytest.raises(LossprintError, match="can be written"):
        places.confirm(open_run(run.path))


@pytest.mark.parametrize("url", ["ftp://h/x", "file:///etc", "memory://x", "zip://x::file:///y", "sftp://h/x"])
def test_the_app_confirms_no_odd_protocols(url, tmp_path):
    run = foreign(make_run(tmp_path / "one"), source=url, root=url, kind="remote")
    with pytest.raises(LossprintError, match="--dataset"):
        places.confirm(run)
    assert not places.believed(run)


def test_a_moved_dataset_is_named_and_compared(tmp_path):
    from lossprint.audit.datasets.kinds import read_source

    run = make_run(tmp_path / "one")
    there = tmp_path / "elsewhere"
    shutil.move(tmp_path / "one" / "data", there)
    manifest = json.loads((run.path / "run.json").read_text())
    manifest["dataset"]["fingerprint"] = read_source(there / "labels.csv").fingerprint
    (run.path / "run.json").write_text(json.dumps(manifest))
    opened = moved.opened(run.path, str(there / "labels.csv"))
    assert sample_reader(places.dataset_of(opened))(opened.samples().loc[0, "path"]).size == (12, 12)
    lines = (there / "labels.csv").read_text().splitlines()
    (there / "labels.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(LossprintError, match="found another one"):
        moved.opened(run.path, str(there / "labels.csv"))


@pytest.mark.parametrize("link", ["copy", "hardlink"])
def test_only_images_are_copied(link, tmp_path):
    run = make_run(tmp_path / "one")
    path = run.samples().loc[3, "path"]
    (tmp_path / "one" / "data" / path).write_text("-----BEGIN PRIVATE KEY-----\n")
    status, said = command(["export", "cleaned", str(run.path), "--out", str(tmp_path / "tree"), "--link", link])
    assert status == 2 and "expected an image" in said and path in said
    assert not (tmp_path / "tree").exists()


def test_the_watch_sees_what_is_opened(private):
    folder, seen = private
    (folder / "one").write_text("x")
    assert seen
    seen.clear()
    with socket.socket() as one, pytest.raises(OSError):
        one.connect(("127.0.0.1", 9))
    assert seen
