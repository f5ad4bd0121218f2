"""What is fuzzed: readers of datasets, images, losses, decisions and weights. See `fuzz_programs` for whole programs.

A target is made once in a folder of its own and is then called with a random.Random for each input. It fails by raising
anything but a LossprintError of one line, by taking longer than LIMIT seconds, or by leaving what it should not.
"""

import io
import json
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import mutation
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from dataset_files import png, tar
from helpers import make_run
from PIL import Image

from lossprint.audit.datasets import dataset, images
from lossprint.audit.datasets.kinds import read_source
from lossprint.audit.datasets.readers import manifests, texts
from lossprint.audit.export import exchange
from lossprint.audit.recording import imported
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.training import checkpoints
from lossprint.audit.types import LossprintError
from lossprint.audit.video import segments

LIMIT = 5.0  # seconds that one input may take
Check = Callable[[Random], int | None]  # tries one input, or returns how many it was


@dataclass(frozen=True)
class Target:
    """`make` prepares a folder and returns the check. `short`: inputs of the test. `unit` says what is counted.

    `limit`: seconds of the processor that one call of the check may take.
    """

    name: str
    what: str
    make: Callable[[Path], Check]
    short: int = 100
    unit: str = "inputs"
    limit: float = LIMIT


class TooLong(BaseException):
    """Not an Exception: readers of images catch all of those."""


@contextmanager
def limited(seconds: float = LIMIT) -> Iterator[None]:
    """Raise TooLong where the block takes longer of this process's time: other programs at work do not count."""

    def stop(*_):
        raise TooLong(f"more than {seconds:g} s")

    before, began = signal.signal(signal.SIGPROF, stop), time.process_time()
    outer, _ = signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        left = max(outer - (time.process_time() - began), 0.001) if outer else 0.0
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        signal.setitimer(signal.ITIMER_PROF, left)


def attempt(target: Target, check: Check, rng: Random) -> int:
    """Call a check once: how many inputs it tried. Raises where one fails or takes too long."""
    with limited(target.limit):
        return check(rng) or 1


def refused(call: Callable[[], object]) -> bool:
    """Whether the call raises a LossprintError; that it is one line is checked, all else goes on."""
    try:
        call()
    except LossprintError as error:
        assert_one_line(error)
        return True
    return False


def assert_one_line(error: object) -> None:
    text = str(error)
    assert text.strip(), "a fault without a word"
    assert len(text.splitlines()) == 1, f"more than one line: {text[:300]!r}"
    assert len(text) < 12_000, f"a line of {len(text):,} characters"
    assert "Traceback" not in text


def assert_only(folder: Path, known: set[str]) -> None:
    """Nothing lies in the folder that was not there, but for files that the caller took away."""
    found = listing(folder) - known
    assert not found, f"left behind: {sorted(found)[:5]}"


def listing(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*")}


# ------------------------------------------------------------------------------------------------ datasets


def manifest_csv(folder: Path) -> Check:
    rows = ["path,label,split,sequence,frame"]
    rows += [f'a/{at}.png,"c,{at % 2}",{("train", "val")[at // 4]},v{at // 4},{at}' for at in range(8)]
    return _manifest(folder, "labels.csv", [("\n".join(rows) + "\n").encode()], mutation.mutated_text)


def manifest_parquet(folder: Path) -> Check:
    frame = pd.DataFrame({"path": [f"a/{at}.png" for at in range(8)], "label": list("abababab")})
    frame["split"], frame["sequence"], frame["frame"] = "train", pd.Categorical(["v"] * 8), np.arange(8.0)
    seeds = []
    for options in ({}, {"compression": "none", "use_dictionary": False}, {"compression": "zstd", "version": "1.0"}):
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(frame), out, **options)
        seeds.append(out.getvalue())
    return _manifest(folder, "labels.parquet", seeds, mutation.mutated_tail)


def _manifest(folder: Path, name: str, seeds: list[bytes], mutate) -> Check:
    (folder / "a").mkdir(parents=True)
    for at in range(8):
        Image.new("RGB", (2, 2), (at, 0, 0)).save(folder / "a" / f"{at}.png")
    path = folder / name
    known = {*listing(folder), name}

    def check(rng: Random) -> None:
        path.write_bytes(mutate(rng, rng.choice(seeds)))
        if not refused(lambda: manifests.read_manifest(path)):
            refused(lambda: dataset.open_dataset(path, check=False))
        texts.lists_texts(path)
        assert_only(folder, known)

    return check


def of_segments(folder: Path) -> Check:
    """A CSV of stretches of videos, in seconds and in frames; no video is there."""
    folder.mkdir(parents=True)
    seeds = ["sequence,start,end,label,split", "sequence,start_frame,end_frame,label"]
    rows = [("a.mp4", 0, 5), ("a.mp4", 5, 9), ("b.mp4", 0, 7)]
    seeds[0] += "".join(f"\n{name},00:{start:02d}.5,{end}.25,x{start},train" for name, start, end in rows)
    seeds[1] += "".join(f"\n{name},{start},{end},x{start}" for name, start, end in rows)
    path = folder / "segments.csv"

    def check(rng: Random) -> None:
        path.write_bytes(mutation.mutated_text(rng, rng.choice(seeds).encode(), b',:."\n\r\t'))
        manifests.lists_segments(path)
        refused(lambda: segments.read_segments(path))
        assert_only(folder, {path.name})

    return check


def text_files(folder: Path) -> Check:
    folder.mkdir(parents=True)
    said = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": [{"type": "text", "text": "c"}]}]
    forms = [
        [{"text": f"word {at}", "label": "ab"[at % 2], "split": "train", "id": f"i{at}"} for at in range(6)],
        [{"messages": said, "id": at} for at in range(6)],
        [{"instruction": "do", "input": f"{at}", "output": "done"} for at in range(6)],
    ]
    csv = "text,label,id\n" + "".join(f'"word, {at}",{"ab"[at % 2]},{at}\n' for at in range(6))
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"messages": said[:1], "id": at, "label": "a"} for at in range(6)]), out)
    lines = ["".join(json.dumps(row) + "\n" for row in form).encode() for form in forms]

    def check(rng: Random) -> None:
        kind = rng.random()
        if kind < 0.3:
            content, ending = mutation.mutated_text(rng, rng.choice(lines), b'{}[]:,"\n\\'), ".jsonl"
        elif kind < 0.6:
            rows = rng.choice(lines).splitlines()
            at = rng.randrange(len(rows))
            rows[at] = mutation.mutated_json(rng, rows[at])
            content, ending = b"\n".join(rows), ".jsonl"
        elif kind < 0.8:
            content, ending = mutation.mutated_text(rng, csv.encode()), ".csv"
        else:
            content, ending = mutation.mutated_tail(rng, out.getvalue()), ".parquet"
        path = folder / f"texts{ending}"
        path.write_bytes(content)

        def read() -> None:
            found = texts.read_texts(path)
            for known in found.rows["path"]:
                assert found.read(known).strip(), known

        try:
            refused(read)
        finally:
            path.unlink()
        assert_only(folder, set())

    return check


def coco(folder: Path) -> Check:
    folder.mkdir(parents=True)
    about = {
        "images": [{"id": at, "file_name": f"{at}.jpg", "split": "train"} for at in range(6)],
        "annotations": [{"image_id": at, "category_id": at % 2} for at in range(6)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    seed, path = json.dumps(about).encode(), folder / "instances.json"

    def check(rng: Random) -> None:
        path.write_bytes(mutation.mutated_json(rng, seed))
        refused(lambda: read_source(str(path)))
        assert_only(folder, {path.name})

    return check


def tars(folder: Path) -> Check:
    folder.mkdir(parents=True)
    members = [(f"s{at}.png", png(0, (2, 2))) for at in range(3)] + [(f"s{at}.cls", b"1") for at in range(2)]
    path = tar(folder / "train.tar", [*members, ("s2.json", b'{"label": "x"}')])
    seed = path.read_bytes()

    def check(rng: Random) -> None:
        path.write_bytes(mutation.mutated_tar(rng, seed))

        def read() -> None:
            found = read_source(str(path))
            for known in found.rows["path"]:
                with_reason(lambda known=known: found.read(known))

        refused(read)
        assert_only(folder, {path.name})

    return check


def with_reason(call: Callable[[], object]) -> None:
    """A decoder may raise any Exception; what is told of it is one line."""
    try:
        call()
    except Exception as error:
        assert_one_line(images.reason(error))


def pictures(folder: Path) -> Check:
    """Each input is decoded by itself, and 16 of them as a dataset of images in which they are the unreadable ones."""
    at_once = 16
    seeds, rng = [], np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 255, (24, 20, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    saves = [("PNG", {}), ("PNG", {"exif": turned}), ("JPEG", {}), ("JPEG", {"progressive": True, "exif": turned})]
    saves += [("GIF", {}), ("GIF", {"save_all": True, "append_images": [pixels.rotate(90)]}), ("WEBP", {}), ("BMP", {})]
    saves += [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}), ("PPM", {})]
    saves += [("WEBP", {"lossless": True}), ("TIFF", {"compression": "group4"}), ("ICO", {}), ("TGA", {}), ("PCX", {})]
    saves += [("PNG", {"mode": "I;16"}), ("PNG", {"mode": "P"}), ("JPEG", {"mode": "CMYK"}), ("JPEG2000", {})]
    for kind, options in saves:
        options = dict(options)
        mode = options.pop("mode", "1" if options.get("compression") == "group4" else "RGB")
        out = io.BytesIO()
        (pixels.convert("L").convert("I;16") if mode == "I;16" else pixels.convert(mode)).save(out, kind, **options)
        seeds.append((kind, out.getvalue()))
    for name, shade in (("a", 0), ("b", 200)):
        (folder / name).mkdir(parents=True)
        for at in range(2):
            Image.new("RGB", (8, 8), (shade, at, 0)).save(folder / name / f"good-{at}.png")
    known = {*listing(folder), *(f"{'ab'[at % 2]}/odd-{at}.png" for at in range(at_once))}

    def check(rng: Random) -> int:
        for at in range(at_once):
            kind, data = rng.choice(seeds)
            data = mutation.mutated_png(rng, data) if kind == "PNG" else mutation.mutated(rng, data)
            (folder / "ab"[at % 2] / f"odd-{at}.png").write_bytes(data)
            file = io.BytesIO(data)
            with warnings.catch_warnings(action="ignore"), limited():
                with_reason(lambda file=file: images.read_size(file))
                with_reason(lambda file=file: upright(file))
        with warnings.catch_warnings(action="ignore"):
            loaded = dataset.load(dataset.open_dataset(folder, check=False), 8, workers=1)
        assert len(loaded.pixels) == len(loaded.dataset.samples) == len(loaded.digests)
        assert len(loaded.dataset.samples) + len(loaded.dataset.unreadable) == 4 + at_once
        assert sum("good" in path for path in loaded.dataset.samples["path"]) == 4
        for one in loaded.dataset.unreadable["reason"]:
            assert_one_line(one)
        assert_only(folder, known)
        return at_once

    return check


def upright(file: io.BytesIO) -> None:
    file.seek(0)
    found = images.read_image(file)
    assert found.mode == "RGB" and min(found.size) > 0
    assert images.square(found, 8).shape == (8, 8, 3)
    images.pixel_digest(found)


# ------------------------------------------------------------------------------------------------ losses, decisions


def imported_losses(folder: Path) -> Check:
    run = make_run(folder)
    samples = run.samples()
    ids = {split: samples.loc[samples["split"] == split, "sample"].to_numpy() for split in ("train", "val")}
    arrays = {f"{split}_{name}": array for split, mine in ids.items() for name, array in _losses(mine).items()}
    npz = io.BytesIO()
    np.savez_compressed(npz, checkpoints=np.arange(1, 5), **arrays)
    rows = pd.DataFrame(
        [(int(one), t, 2 / t + one / 100, "bag") for mine in ids.values() for one in mine for t in range(1, 5)],
        columns=["sample", "checkpoint", "loss", "predicted"],
    )
    parquet = io.BytesIO()
    rows.to_parquet(parquet)
    seeds = {".npz": (npz.getvalue(), mutation.mutated_zip), ".parquet": (parquet.getvalue(), mutation.mutated_tail)}
    seeds[".csv"] = rows.to_csv(index=False).encode(), mutation.mutated_text
    kinds = [*seeds] * 2 + [".csv.gz"]
    known = listing(folder)

    def check(rng: Random) -> None:
        ending = rng.choice(kinds)
        seed, mutate = seeds[".csv" if ending == ".csv.gz" else ending]
        path = folder / f"losses{ending}"
        content = mutate(rng, seed)
        if ending == ".csv.gz":
            import gzip

            content = gzip.compress(content, 1)
            content = mutation.mutated(rng, content) if rng.random() < 0.5 else content
        path.write_bytes(content)

        def read() -> None:
            for split, _, table in imported.read_losses(path, samples, run.classes):
                assert list(table["sample"]) == list(ids[split]) and np.isfinite(table["loss"]).all()

        try:
            refused(read)
        finally:
            path.unlink()
        assert_only(folder, known)

    return check


def _losses(ids: np.ndarray) -> dict[str, np.ndarray]:
    values = (2 / np.arange(1, 5) + ids[:, None] / 100).astype(np.float32)
    return {"losses": values, "samples": ids, "margins": -values, "predicted": np.zeros(values.shape, np.int32)}


def decisions(folder: Path) -> Check:
    """CSV, JSON and our own exports, up to the decisions that would be stored."""
    run = make_run(folder)
    path = run.samples()["path"].tolist()
    said = [{"from_name": "label", "type": "choices", "value": {"choices": ["coat"]}}]
    said[0]["meta"] = {"lossprint": {"value": "coat", "reviewer": "ann", "decision": "accept", "review": 1}}
    said[0]["meta"]["lossprint"] |= {"at": "2026", "new_frame": 3, "blind": "given", "role": "adjudication"}
    tasks = [
        {"data": {"path": path[at]}, "annotations": [{"result": said, "completed_by": {"email": "a@b"}}]}
        for at in range(3)
    ]
    flat = [{"image": path[at], "label": "bag", "annotator": 1, "annotation_id": at, "verdict": ""} for at in range(3)]
    head = "path,sample,label,decision,reviewer,comment,finding,at,role,review,new_frame,blind,is_label_issue"
    body = [f"{path[at]},{at},coat,relabel,ann,why,label_error:{at},2026,,{at},1,given,true" for at in range(4)]
    body.append(f"{path[5]},5,,reorder,bob,,,2026,,9,7,,")
    seeds = [json.dumps(tasks).encode(), json.dumps(flat).encode()]
    table = "\n".join([head, *body]).encode()
    with open_reviews(run) as opened:
        kept = Kept(opened.history(), opened.classes())

    def check(rng: Random) -> None:
        roll = rng.random()
        content = mutation.mutated_json(rng, rng.choice(seeds)) if roll < 0.6 else mutation.mutated_text(rng, table)
        with_reviewer = rng.choice((None, "eve", "  "))
        found: list[exchange.Plan] = []
        if not refused(lambda: found.append(exchange.plan(run, content, "file", with_reviewer, kept))):
            (made,) = found
            assert_one_line(made)
            assert set(made.counts) <= set(exchange.CHOICES) and all(one["reviewer"] for one in made.decisions)

    return check


@dataclass(frozen=True)
class Kept:
    """Decisions of which there are none, and the run's classes: `plan` asks for nothing else."""

    none: pd.DataFrame
    names: list[str]

    def history(self) -> pd.DataFrame:
        return self.none

    def classes(self) -> list[str]:
        return self.names


def weights(folder: Path) -> Check:
    """What torch.save, safetensors and plain pickles hold, changed; and that nothing in them is run."""
    import torch
    from safetensors.torch import save

    folder.mkdir(parents=True)
    network = torch.nn.Linear(3, 2)
    state = network.state_dict()
    packed, old = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state, "epoch": 3}, packed)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    seeds = [(".pt", packed.getvalue(), mutation.mutated_zip), (".ckpt", packed.getvalue(), mutation.mutated)]
    seeds += [(".bin", old.getvalue(), mutation.mutated), (".safetensors", save(state), mutation.mutated_safetensors)]

    def check(rng: Random) -> None:
        ending, data, mutate = rng.choice(seeds)
        path = folder / f"checkpoint-1{ending}"
        path.write_bytes(mutate(rng, data))
        found: list = []
        if not refused(lambda: found.append(checkpoints.read_weights(path))):
            refused(lambda: checkpoints.fitted(found[0], network, path))
        path.unlink()
        names = {mutation.odd_text(rng).replace("/", "").replace("\0", "")[:60] + ending for _ in range(4)}
        for name in names - {ending}:
            (folder / name.encode("utf-8", "replace").decode()).touch()
        refused(lambda: checkpoints.find_checkpoints(folder))
        for file in folder.iterdir():
            file.unlink()

    return check


READERS = (
    Target("manifest-csv", "manifest, CSV", manifest_csv),
    Target("manifest-parquet", "manifest, Parquet", manifest_parquet),
    Target("segments", "segments of videos, CSV", of_segments),
    Target("texts", "texts: JSON Lines, CSV, Parquet", text_files),
    Target("coco", "COCO JSON", coco),
    Target("tar", "tar headers and members", tars),
    Target("images", "images of 12 formats", pictures, short=8 * 16, limit=16 * LIMIT),
    Target("losses", "losses: npz, Parquet, CSV, gzip", imported_losses),
    Target("decisions", "decisions: CSV, JSON", decisions),
    Target("weights", "checkpoints: .pt, .ckpt, .bin, safetensors", weights),
)
