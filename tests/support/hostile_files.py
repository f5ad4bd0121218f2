"""Further hostile inputs by kind: paths that lead out of a dataset, and what is no file.

KINDS puts all kinds together, those of `hostile` and `hostile_texts` as well.
"""

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pandas as pd
from dataset_files import png, tar
from fuzz_programs import assert_known, command, read_all
from fuzz_targets import limited, refused
from helpers import make_run
from hostile import BOMBS, PICKLES, Case, as_losses, limited_memory, must_refuse
from hostile_texts import CLASSES, FORMULAS, MARKUP, NAMES, formula, named, reported
from PIL import Image

from lossprint.audit.datasets import dataset
from lossprint.audit.datasets.kinds import open_reader, read_source
from lossprint.audit.report import write as report
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvfile import csv_text

# ------------------------------------------------------------------------------------------------ paths that lead out


def outside(folder: Path) -> Path:
    """An image beside the dataset's folder, which nothing may show."""
    place = folder / "secret.png"
    Image.new("RGB", (3, 3), (1, 2, 3)).save(place)
    (folder / "data" / "a").mkdir(parents=True)
    for at in range(4):
        Image.new("RGB", (8, 8), (at, 0, 0)).save(folder / "data" / "a" / f"{at}.png")
    return place


def manifest_path(path: str) -> Case:
    def case(folder: Path) -> None:
        place, known = outside(folder), folder / "data" / "labels.csv"
        named = path.replace("FOLDER", str(folder))
        rows = pd.DataFrame({"path": [named, *(f"a/{at}.png" for at in range(4))], "label": list("ababa")})
        known.write_text(csv_text(rows))
        must_refuse(lambda: dataset.open_dataset(known, check=False))
        must_refuse(lambda: dataset.image_reader(known)(named))
        about = {"images": [{"id": 1, "file_name": named}], "annotations": [{"image_id": 1, "category_id": 1}]}
        (folder / "data" / "coco.json").write_text(json.dumps(about | {"categories": [{"id": 1, "name": "x"}]}))
        must_refuse(lambda: read_source(str(folder / "data" / "coco.json")))
        assert place.exists()

    return case


def linked(what: str) -> Case:
    """A link within a dataset's folder to a file, a folder or a device outside of it."""

    def case(folder: Path) -> None:
        place = outside(folder)
        target = {"file": place, "folder": folder, "device": Path("/dev/zero"), "up": Path("../..")}[what]
        (folder / "data" / "a" / "link.png").symlink_to(target)
        within = "a/link.png/secret.png" if what == "folder" else "a/link.png"
        must_refuse(lambda: dataset.image_reader(folder / "data")(within))
        with limited():
            rows = "path,label\n" + "".join(f"a/{at}.png,{'ab'[at % 2]}\n" for at in range(4)) + f"{within},a\n"
            (folder / "data" / "labels.csv").write_text(rows)
            must_refuse(lambda: dataset.open_dataset(folder / "data" / "labels.csv", check=False))
            (folder / "data" / "labels.csv").unlink()
            must_refuse(lambda: dataset.open_dataset(folder / "data", check=False))

    return case


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Case:
    """A member of a shard: images are read where they lie, and nothing of any name is ever made."""

    def case(folder: Path) -> None:
        outside(folder)
        odd = tarfile.TarInfo(f"{name}.png")
        odd.type, odd.linkname = kind, link
        first = (odd.name, png(0, (2, 2))) if kind == tarfile.REGTYPE else odd
        members = [first, (f"{name}.cls", b"0"), ("ok.png", png(0, (2, 2))), ("ok.cls", b"1")]
        shard = tar(folder / "data" / "train.tar", members)
        before = {*folder.rglob("*")}
        found = []
        with limited():
            refused(lambda: found.append(read_source(str(shard))))
            for path in found[0].rows["path"] if found else ():
                assert found[0].read(path).size == (2, 2)
            for path in (
                "train.tar/../../secret.png",
                "../secret.png",
                f"train.tar/{link}",
                str(folder / "secret.png"),
            ):
                must_refuse(lambda path=path: open_reader(str(shard)).read(path))
        assert {*folder.rglob("*")} == before

    return case


def cleaned_stays_inside(folder: Path) -> None:
    """Class names and paths that lead out: the exported folder has all of it below itself."""
    classes = ("../../evil", "/abs", "a/b", "..", "x\0y")
    run = make_run(folder / "made", classes=classes, train=4, held_out=2)
    before = {*folder.rglob("*")}
    status, told = command(["export", "cleaned", str(run.path), "--out", str(folder / "out" / "deep" / "tree")])
    assert_known(status, told)
    new = {*folder.rglob("*")} - before - {folder / "out", folder / "out" / "deep"}
    assert all(one.is_relative_to(folder / "out" / "deep" / "tree") or "reviews.db" in one.name for one in new), new


def run_places(folder: Path) -> None:
    """A run folder whose samples name files outside of the dataset: none is shown, exported or put into the report."""
    place = folder / "secret.png"
    run = make_run(folder / "made", train=4, held_out=2)
    Image.new("RGB", (3, 3), (1, 2, 3)).save(place)
    samples = run.samples()
    for at, path in enumerate((str(place), "../../secret.png", "/etc/passwd", "..\\..\\secret.png")):
        samples.loc[at, "path"] = path
    run.write_samples(samples, run.unreadable())
    read = dataset.image_reader(run.manifest["dataset"]["source"])
    for path in samples["path"][:4]:
        must_refuse(lambda path=path: read(path))
    assert report.report_bytes(run).count(b"data:image/") > 0
    status, told = command(["export", "cleaned", str(run.path), "--out", str(folder / "tree")])
    assert_known(status, told)
    assert status == 2, "images from outside were copied"


OUT: dict[str, Case] = {
    **{
        f"a manifest's path {path!r}": manifest_path(path)
        for path in (
            "../secret.png",
            "a/../../secret.png",
            "FOLDER/secret.png",
            "/dev/zero",
            "\\\\host\\x.png",
            "C:\\x.png",
        )
    },
    **{f"a link to a {what}": linked(what) for what in ("file", "folder", "device", "up")},
    "tar: ../": tar_member("../evil"),
    "tar: absolute": tar_member("/tmp/lossprint-evil"),
    "tar: symbolic link": tar_member("s", tarfile.SYMTYPE, "../secret.png"),
    "tar: hard link": tar_member("h", tarfile.LNKTYPE, "../secret.png"),
    "tar: character device": tar_member("c", tarfile.CHRTYPE),
    "tar: block device": tar_member("b", tarfile.BLKTYPE),
    "tar: pipe": tar_member("p", tarfile.FIFOTYPE),
    "classes that lead out of an exported folder": cleaned_stays_inside,
    "a run whose samples lie elsewhere": run_places,
}


# ------------------------------------------------------------------------------------------------ what is no file


def pipe_in_dataset(folder: Path) -> None:
    outside(folder)
    os.mkfifo(folder / "data" / "a" / "pipe.png")
    Image.new("RGB", (8, 8)).save(folder / "data" / "a" / "5.png")
    (folder / "data" / "b").mkdir()
    for at in range(2):
        Image.new("RGB", (8, 8), (9, at, 0)).save(folder / "data" / "b" / f"{at}.png")
    with limited():
        found = dataset.load(dataset.open_dataset(folder / "data", check=False), 8).dataset
        assert found.unreadable["path"].tolist() == ["a/pipe.png"]
        must_refuse(lambda: dataset.image_reader(folder / "data")("a/pipe.png"))


@contextmanager
def pipe(path: Path) -> Iterator[None]:
    """The file is a pipe that nobody writes to. Fails where something waits to read it, which is let go in the end."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    over, waited = Event(), []

    def look() -> None:
        while not over.wait(PATIENCE):
            with suppress(OSError):  # ENXIO: nobody reads
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                waited.append(True)

    watch = Thread(target=look)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
    assert not waited, f"{path.name} was waited for"


PATIENCE = 1.5  # seconds


def pipe_as(name: str, use: Callable[[Path], object]) -> Case:
    def case(folder: Path) -> None:
        with pipe(folder / name):
            must_refuse(lambda: use(folder / name))

    return case


def pipe_in_run(name: str) -> Case:
    def case(folder: Path) -> None:
        run = make_run(folder, train=2, held_out=2)
        with pipe(run.path / name):
            opened: list[Run] = []
            if not refused(lambda: opened.append(open_run(run.path))):
                read_all(opened[0])
            assert_known(*command(["report", str(run.path), "--out", str(folder / "r.html")]))
            assert_known(*command(["score", str(run.path), "--quiet"]))

    return case


def as_source(path: Path) -> object:
    return read_source(str(path))


IN_RUN = ("run.json", "samples.parquet", "scores.parquet", "findings.parquet", "embeddings.safetensors")
NO_FILES: dict[str, Case] = {
    "a pipe among the images": pipe_in_dataset,
    **{f"a pipe as {name}": pipe_as(name, as_source) for name in ("labels.csv", "x.parquet", "a.json", "a.tar")},
    **{f"a pipe as {name}": pipe_as(name, as_losses) for name in ("losses.npz", "losses.csv", "losses.parquet")},
    **{f"a pipe as {name} of a run": pipe_in_run(name) for name in IN_RUN},
    "a pipe as a checkpoint's part": pipe_in_run("trajectories/split=train/checkpoint=00002/rank-0.parquet"),
}


SLOW = {"a million labels of one row"}  # tried by benchmarks/fuzz.py, not in the suite
KINDS: dict[str, dict[str, Case]] = {
    "pickles and objects, in every reader": PICKLES,
    "decompression bombs, in 3 GB": {name: limited_memory(name) for name in BOMBS},
    "paths, links and members that lead out": OUT,
    "pipes": NO_FILES,
    "names": {name: named(text) for name, text in NAMES.items()},
    "markup in the report": {text: reported(text) for text in MARKUP},
    "formulas in every exported CSV": {text: formula(text) for text in FORMULAS},
    "a million classes": CLASSES,
}
