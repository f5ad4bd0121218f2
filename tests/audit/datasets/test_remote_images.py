"""Datasets whose images are at URLs, against a real S3 server and a real web server on this machine."""

import functools
import http.server
import json
import multiprocessing
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo
from dataset_files import message, picture
from helpers import free_port
from s3 import forget

from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets.kinds import open_reader
from lossprint.audit.datasets.readers import manifests, remote
from lossprint.audit.datasets.readers.cache import Cache
from lossprint.audit.recording.samples import described
from lossprint.audit.system import urls
from lossprint.audit.system.locks import alone
from lossprint.audit.types import LossprintError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def demo(s3, tmp_path_factory) -> Path:
    """A small dataset on this machine, which is at s3://images/demo as well; the path of its labels.csv."""
    folder = tmp_path_factory.mktemp("demo")
    cut_demo(folder, 8, 3)
    s3.bucket("images")
    s3.upload(folder, "images", "demo/")
    return folder / "labels.csv"


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("LOSSPRINT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def refused(name, **options) -> str:
    began = time.monotonic()
    text = message(name, **options)
    assert time.monotonic() - began < 40
    return text


def put(s3, key: str, body: bytes | str) -> str:
    s3.client().put_object(Bucket="images", Key=key, Body=body if isinstance(body, bytes) else body.encode())
    return f"s3://images/{key}"


# ------------------------------------------------------------------------------------------------- what is read


def test_a_manifest_at_a_url_gives_what_the_same_one_on_a_disk_gives(s3, demo, fresh):
    here = datasets.load(datasets.open_dataset(demo, check=False), 28)
    s3.asked.clear()
    there = datasets.load(datasets.open_dataset("s3://images/demo/labels.csv", check=False), 28)
    pd.testing.assert_frame_equal(here.dataset.samples, there.dataset.samples)
    assert np.array_equal(here.pixels, there.pixels) and list(here.digests) == list(there.digests)
    count = len(here.dataset.samples)
    assert len(s3.reads()) == count, "each image is downloaded once"
    # one listing of the folder, not one request an image
    assert sum(verb == "HEAD" for verb, _ in s3.asked) <= 3
    s3.asked.clear()
    again = datasets.load(datasets.open_dataset("s3://images/demo/labels.csv", check=False), 28)
    assert np.array_equal(again.pixels, here.pixels) and not s3.reads(), "the second time comes from the cache"


def test_parquet_class_folders_and_a_local_manifest_of_urls(s3, demo, fresh, tmp_path):
    table = pd.read_csv(demo, dtype=str)
    here = datasets.load(datasets.open_dataset(demo, check=False), 28)
    table.to_parquet(tmp_path / "labels.parquet")
    put(s3, "demo/labels.parquet", (tmp_path / "labels.parquet").read_bytes())
    table.assign(path="s3://images/demo/" + table["path"]).to_csv(tmp_path / "urls.csv", index=False)
    for name in ("s3://images/demo/labels.parquet", str(tmp_path / "urls.csv")):
        there = datasets.load(datasets.open_dataset(name, check=False), 28)
        assert np.array_equal(there.pixels, here.pixels), name
    read = open_reader(tmp_path / "urls.csv").read
    one = table["path"][0]
    assert read(f"s3://images/demo/{one}").tobytes() == open_reader(demo).read(one).tobytes()
    for row in table.itertuples():
        put(s3, f"tree/{row.split}/{row.label}/{Path(row.path).name}", (demo.parent / row.path).read_bytes())
    put(s3, "tree/train/notes.txt", "not an image")
    found = datasets.open_dataset("s3://images/tree")
    assert sorted(found.samples["label"].value_counts()) == sorted(table["label"].value_counts())
    assert found.samples["path"].is_monotonic_increasing and set(found.samples["split"]) == {"train", "val"}
    assert any("passed over" in note and ".txt" in note for note in found.notes)
    assert found.root == "s3://images/tree" and found.source == "s3://images/tree"


def test_what_is_missing_empty_or_no_image_is_listed_and_left_out(s3, demo, fresh):
    table = pd.read_csv(demo, dtype=str)
    put(s3, "demo/images/torn.png", (demo.parent / table["path"][0]).read_bytes()[:60])
    put(s3, "demo/images/none.png", b"")
    bad = ["images/torn.png", "images/gone.png", "images/none.png", "elsewhere/gone.png"]
    more = pd.DataFrame({"path": bad, "label": "bag", "split": "train"})
    found = datasets.open_dataset(put(s3, "demo/odd.csv", pd.concat([table, more]).to_csv(index=False)))
    reasons = dict(zip(found.unreadable["path"], found.unreadable["reason"]))
    assert set(reasons) == set(bad) and len(found.samples) == len(table)
    assert reasons["images/gone.png"] == reasons["elsewhere/gone.png"] == "no such file"
    assert reasons["images/none.png"] == "an empty file"


def test_one_image_is_read_by_its_path_alone_and_a_changed_one_is_not_shown_as_it_was(s3, fresh, tmp_path):
    for value in (10, 200):
        picture(tmp_path / f"{value}.png", value)
    put(s3, "one/a.png", (tmp_path / "10.png").read_bytes())
    read = open_reader("s3://images/one/labels.csv").read  # there is no such manifest: it is not looked for
    s3.asked.clear()
    assert read("a.png").getpixel((0, 0)) == (10, 10, 10)
    assert not any("list-type" in path for _, path in s3.asked), "nothing is listed"
    s3.asked.clear()
    assert read("a.png").getpixel((0, 0)) == (10, 10, 10) and not s3.reads()
    put(s3, "one/a.png", (tmp_path / "200.png").read_bytes())
    assert read("a.png").getpixel((0, 0)) == (200, 200, 200)
    with pytest.raises(FileNotFoundError):
        read("b.png")


def test_the_fingerprint_is_of_labels_and_contents(s3, fresh, tmp_path):
    for value in range(4):
        picture(tmp_path / f"{value}.png", value)
        put(s3, f"prints/{value}.png", (tmp_path / f"{value}.png").read_bytes())
    text = "path,label\n" + "".join(f"{one}.png,{'ab'[one % 2]}\n" for one in range(4))
    name = put(s3, "prints/labels.csv", text)
    first = datasets.open_dataset(name, check=False).fingerprint
    assert first == datasets.open_dataset(name, check=False).fingerprint
    put(s3, "prints/labels.csv", text.replace("0.png,a\n1.png,b", "0.png,b\n1.png,a"))
    assert first != datasets.open_dataset(name, check=False).fingerprint
    put(s3, "prints/labels.csv", text)
    put(s3, "prints/2.png", (tmp_path / "3.png").read_bytes())
    assert first != datasets.open_dataset(name, check=False).fingerprint


# --------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "path",
    [
        "file:///etc/hostname",
        "/etc/hostname",
        "../secret/a.png",
        "images/../../secret/a.png",
        "..\\secret\\a.png",
        "%2e%2e/secret/a.png",
        "s3://other/a.png",
        "C:/a.png",
        "zip://a.png::file:///tmp/a.zip",
        "a.png::memory://b",
    ],
)
def test_a_manifest_at_a_url_names_nothing_outside_its_folder(s3, demo, path):
    name = put(s3, "demo/bad.csv", f"path,label\n{path},x\nb.png,x\nc.png,y\nd.png,y\n")
    text = refused(name)
    assert "line 2 of bad.csv" in text and "s3://images/demo/" in text
    with pytest.raises(LossprintError, match="expected paths below s3://images/demo"):
        open_reader(name).read(path)


@pytest.mark.parametrize("path", ["file:///etc/hostname", "memory://a.png", "local:///a.png", "s3://a::file:///b"])
def test_a_local_manifest_names_no_files_of_this_machine_by_url(tmp_path, path):
    (tmp_path / "m.csv").write_text(f"path,label\n{path},x\nhttps://h/b.png,x\nhttps://h/c.png,y\nhttps://h/d.png,y\n")
    assert "line 2 of m.csv" in refused(tmp_path / "m.csv")
    with pytest.raises(LossprintError, match="expected URLs of s3"):
        open_reader(tmp_path / "m.csv").read(path)
    (tmp_path / "m.csv").write_text("path,label\nhttps://h/b.png,x\nc.png,y\n")
    assert "'c.png', in line 3" in refused(tmp_path / "m.csv")


def test_faults_are_one_line_and_do_not_hang(s3, demo, monkeypatch, tmp_path):
    assert "found none of that name" in refused("s3://no-such-bucket/labels.csv")
    assert "nothing at s3://images/nowhere.csv" in refused("s3://images/nowhere.csv")
    assert "nothing at s3://images/nowhere" in refused("s3://images/nowhere")
    assert "line 2 of s3://images/cut.csv" in refused(put(s3, "cut.csv", "path,label\na.png\n"))
    assert "s3://images/demo.json" in refused("s3://images/demo.json")
    assert "chained" in refused("zip://labels.csv::s3://images/a.zip")
    assert "nosuch://a" in refused("nosuch://a/labels.csv")
    assert "gcsfs" in refused("gs://a/labels.csv") and "pip install 'lossprint[gcs]'" in refused("gs://a/labels.csv")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    forget()
    assert "expected credentials for s3://images/demo/labels.csv" in refused("s3://images/demo/labels.csv")
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    forget()
    assert "expected an answer about s3://images/demo/labels.csv" in refused("s3://images/demo/labels.csv")
    began = time.monotonic()
    assert "expected an answer from s3" in refused("s3://images/demo/labels.csv")
    assert time.monotonic() - began < 1, "a server that was down a moment ago is not waited for again"
    monkeypatch.undo()
    forget()


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(monkeypatch):
    import socket

    monkeypatch.setattr(urls, "FIRST", 1.0)
    monkeypatch.setattr(urls, "PAUSES", (0.1,))
    urls._down.clear()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        text = refused(f"http://127.0.0.1:{silent.getsockname()[1]}/labels.csv")
    assert "none within 1 seconds" in text and time.monotonic() - began < 10
    urls._down.clear()


def test_a_fault_of_the_server_is_tried_again_and_never_taken_for_a_bad_image(s3, demo, fresh, monkeypatch, broken):
    dataset = datasets.open_dataset("s3://images/demo/labels.csv", check=False)
    left = broken("cat_file", times=2)
    whole = datasets.load(dataset, workers=1).dataset
    assert left == [0] and len(whole.samples) == len(dataset.samples)
    monkeypatch.setenv("LOSSPRINT_CACHE_BYTES", "0")
    broken("cat_file")
    with pytest.raises(urls.Unreachable, match="the line broke"):
        datasets.load(dataset)


# --------------------------------------------------------------------------------------------------- other stores


class Web(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send_head(self):
        if self.path.endswith("broken.png"):
            return self.send_error(503)
        return super().send_head()


def test_images_of_a_web_server(demo, fresh, tmp_path, monkeypatch):
    handler = functools.partial(Web, directory=str(demo.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        found = datasets.load(datasets.open_dataset(f"{base}/labels.csv", check=False), 28)
        here = datasets.load(datasets.open_dataset(demo, check=False), 28)
        assert np.array_equal(found.pixels, here.pixels)
        table = pd.read_csv(demo, dtype=str)
        gone = pd.DataFrame({"path": ["images/gone.png"], "label": ["bag"], "split": ["train"]})
        urls_of = pd.concat([table, gone]).assign(path=lambda rows: f"{base}/" + rows["path"])
        urls_of.to_csv(tmp_path / "web.csv", index=False)
        mixed = datasets.open_dataset(tmp_path / "web.csv")
        assert list(mixed.unreadable["reason"]) == ["no such file"] and len(mixed.samples) == len(table)
        monkeypatch.setattr(urls, "PAUSES", (0.01, 0.01))
        bad = urls_of.head(4).assign(path=[*urls_of["path"][:3], f"{base}/broken.png"])
        bad.to_csv(tmp_path / "bad.csv", index=False)
        text = refused(tmp_path / "bad.csv")
        assert "expected an answer" in text and "503" in text
        urls._down.clear()
        server.shutdown()


def test_memory_and_file_urls_and_a_stream_for_training(demo, fresh, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for file in demo.parent.rglob("*"):
        if file.is_file():
            memory.pipe_file(f"/set/{file.relative_to(demo.parent).as_posix()}", file.read_bytes())
    here = datasets.load(datasets.open_dataset(demo, check=False), 28)
    for name in ("memory://set/labels.csv", f"file://{demo}"):
        assert np.array_equal(datasets.load(datasets.open_dataset(name, check=False), 28).pixels, here.pixels)
    memory.rm("/set", recursive=True)


def test_worker_processes_of_a_loader_read_too(s3, demo, fresh):
    """Forked ones: fsspec's event loop does not survive a fork, so each process connects anew."""
    import torch

    dataset = datasets.open_dataset("s3://images/demo/labels.csv")
    here = datasets.load(datasets.open_dataset(demo, check=False), 28).pixels
    stream = datasets.ImageStream(dataset, 28)
    s3.asked.clear()
    loader = torch.utils.data.DataLoader(stream, batch_size=8, num_workers=2)
    assert np.array_equal(np.concatenate([one.numpy().transpose(0, 2, 3, 1) for _, one in loader]), here)
    assert not s3.reads(), "the check has filled the cache"
    (fresh / "images" / "bytes").unlink()
    for file in (fresh / "images").glob("*/*"):
        file.write_bytes(b"torn")  # by a crash of the machine
    loader = torch.utils.data.DataLoader(stream, batch_size=8, num_workers=2)
    assert np.array_equal(np.concatenate([one.numpy().transpose(0, 2, 3, 1) for _, one in loader]), here)
    assert len(s3.reads()) == len(here)


# ------------------------------------------------------------------------------------------------------- the cache


def held(cache: Cache) -> int:
    return sum(file.stat().st_size for file in cache.folder.glob("*/*"))


def test_the_cache_is_bounded_and_what_was_used_last_stays(tmp_path):
    cache = Cache(tmp_path / "c", 100_000)
    for number in range(300):
        cache.put(str(number), bytes([number % 256]) * 1000)
        assert cache.get("0") is not None
        if number % 10 == 0 or 90 < number < 110:
            assert held(cache) <= 100_000
    assert cache.get("0") == b"\0" * 1000, "it was asked for all the time"
    assert cache.get("1") is None and cache.get("299") == bytes([299 % 256]) * 1000
    assert held(cache) > 80_000
    cache.put("large", b"x" * 7000)
    assert cache.get("large") is None, "one file does not drive out all others"


def _fill(folder: Path, name: int) -> None:
    cache = Cache(folder, 200_000)
    for number in range(200):
        cache.put(f"{name}-{number}", bytes([name]) * 2000)
        found = cache.get(f"{name}-{number // 2}")
        assert found is None or found == bytes([name]) * 2000


def test_several_processes_share_the_cache_and_its_bound(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(tmp_path / "c", name)) for name in range(4)]
    for worker in workers:
        worker.start()
    cache, most = Cache(tmp_path / "c", 200_000), 0
    while any(worker.is_alive() for worker in workers):
        # Under the lock that the bound holds under: a count while files move takes in what has already gone.
        with suppress(FileNotFoundError), alone(cache.folder):
            most = max(most, held(cache))
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert held(cache) <= 200_000 and most <= 200_000 + 4 * 2000, "but for what is being written"
    assert not list(cache.folder.glob("*/*.part"))


def test_what_killed_writes_left_is_removed_and_the_count_is_found_again(tmp_path):
    import os

    cache = Cache(tmp_path / "c", 50_000)
    for number in range(40):
        cache.put(str(number), b"x" * 1000)
    old, new = (cache.folder / "00" / f"{name}.part" for name in ("old", "new"))
    old.parent.mkdir(exist_ok=True)
    for part in (old, new):
        part.write_bytes(b"y" * 1000)
    os.utime(old, (1, 1))
    (cache.folder / "bytes").write_text("")  # cut off
    for number in range(40, 60):
        cache.put(str(number), b"x" * 1000)
    assert not old.exists() and new.exists() and held(cache) <= 50_000 + 1000


def test_a_cache_that_cannot_be_written_is_done_without(s3, demo, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOSSPRINT_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not cached"):
        assert len(datasets.open_dataset("s3://images/demo/labels.csv").samples) == 33
    monkeypatch.setenv("LOSSPRINT_CACHE_BYTES", "2 GB")
    assert "LOSSPRINT_CACHE_BYTES" in refused("s3://images/demo/labels.csv")


def test_a_run_json_tells_where_the_images_are(s3, demo):
    dataset = datasets.open_dataset("s3://images/demo/labels.csv")
    about = json.loads(json.dumps(described(dataset, 0, "classes")[1]))
    assert (about["source"], about["root"]) == ("s3://images/demo/labels.csv", "s3://images/demo")
    path = dataset.samples["path"][0]
    assert remote.images_of(about).content(path) == (demo.parent / path).read_bytes()
    assert manifests.manifest_of(about["source"]).read_bytes() == demo.read_bytes()
