"""Hostile inputs by kind: each case plants something and raises where it is let through. See benchmarks/fuzz.py.

A case is a function of an empty folder; `hostile_files.KINDS` maps a kind to its cases. What a pickle would do is make
the folder MARKER.
"""

import gzip
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dataset_files import png, tar
from fuzz_programs import command, read_all
from fuzz_targets import assert_one_line, refused
from helpers import Trap, make_run
from PIL import Image

from lossprint.audit.datasets import dataset, images
from lossprint.audit.datasets.kinds import read_source
from lossprint.audit.export import exchange
from lossprint.audit.recording import imported
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.training import checkpoints
from lossprint.audit.types import LossprintError

Case = Callable[[Path], None]


def must_refuse(call: Callable[[], object]) -> None:
    assert refused(call), "it was not refused"


# ------------------------------------------------------------------------------------------------ pickles


def pickled(folder: Path) -> tuple[bytes, Path]:
    """A pickle that leaves its mark, and the mark; it works: the marker is there after pickle.loads."""
    probe = folder / "probe"
    pickle.loads(pickle.dumps(Trap(probe)))
    assert probe.is_dir()
    probe.rmdir()
    return pickle.dumps(Trap(folder / "MARKER")), folder / "MARKER"


def object_array(folder: Path, npz: bool) -> tuple[bytes, Path]:
    marker, out = folder / "MARKER", io.BytesIO()
    array = np.array([Trap(marker)], dtype=object)
    np.savez(out, train_losses=array, val_losses=array) if npz else np.save(out, array, allow_pickle=True)
    return out.getvalue(), marker


def torch_pickle(folder: Path) -> tuple[bytes, Path]:
    import torch

    out = io.BytesIO()
    torch.save({"state_dict": Trap(folder / "MARKER")}, out)
    return out.getvalue(), folder / "MARKER"


def extension(folder: Path) -> tuple[bytes, Path]:
    """Parquet with an extension type that old versions of pyarrow unpickled when they read the file's schema."""
    data, marker = pickled(folder)
    about = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": data}
    names = ("path", "label", "sample", "checkpoint", "loss", "text")
    schema = pa.schema([pa.field(name, pa.string(), metadata=about) for name in names])
    out = io.BytesIO()
    pq.write_table(pa.table({name: ["a", "b"] for name in names}, schema=schema), out)
    return out.getvalue(), marker


def planted(name: str, make, use: Callable[[Path], object]) -> Case:
    """Write what `make` gives to a file of this name, hand it to a reader; nothing may have been unpickled."""

    def case(folder: Path) -> None:
        data, marker = make(folder)
        path = folder / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        refused(lambda: use(path))
        assert not marker.exists(), f"{name} was unpickled"

    return case


def as_losses(path: Path) -> object:
    run = make_run(path.parent / "made", train=2, held_out=2)
    return imported.read_losses(path, run.samples(), run.classes)


def as_dataset(path: Path) -> object:
    return dataset.load(dataset.open_dataset(path, check=False), 8).dataset


def as_image(path: Path) -> object:
    try:
        return images.read_image(path)
    except Exception as error:
        raise LossprintError(images.reason(error)) from None


def as_tar(path: Path) -> object:
    """The bytes as members of a shard, beside an image."""
    data = path.read_bytes()
    members = [("a.png", png(0)), ("a.cls", data), ("a.pkl", data), ("b.png", data)]
    return read_source(str(tar(path.with_suffix(".tar"), members)))


def as_decisions(path: Path) -> object:
    return exchange.import_file(make_run(path.parent / "made", train=2, held_out=2), path, "ann")


def in_run(name: str) -> Callable[[Path], object]:
    """The bytes in the place of a run's own file."""

    def use(path: Path) -> object:
        run = make_run(path.parent / "made", train=2, held_out=2)
        (run.path / name).write_bytes(path.read_bytes())
        opened: list[Run] = []
        if not refused(lambda: opened.append(open_run(run.path))):
            read_all(opened[0])
        return command(["report", str(run.path), "--out", str(path.parent / "r.html")])

    return use


def as_roles(path: Path) -> object:
    from lossprint.app.access import roles

    return roles.read_roles(path)


PICKLES: dict[str, Case] = {}
for _name, _use in (
    *((f"losses{end}", as_losses) for end in (".npz", ".parquet", ".csv", ".csv.gz")),
    *((f"labels{end}", as_dataset) for end in (".csv", ".parquet", ".json", ".jsonl", ".tar")),
    *((f"model-1{end}", checkpoints.read_weights) for end in checkpoints.ENDINGS),
    *((f"decisions{end}", as_decisions) for end in (".csv", ".json", ".parquet")),
    *((name, in_run(name)) for name in ("run.json", "scores.parquet", "embeddings.safetensors", "reviews.db")),
    ("image.png", as_image),
    ("class.cls", as_tar),
    ("roles.toml", as_roles),
):
    PICKLES[f"a pickle as {_name}"] = planted(_name, pickled, _use)
PICKLES |= {
    "objects in an npz": planted("losses.npz", lambda folder: object_array(folder, True), as_losses),
    "objects in an npy as npz": planted("losses.npz", lambda folder: object_array(folder, False), as_losses),
    **{
        f"torch.save as {end}": planted(f"m-1{end}", torch_pickle, checkpoints.read_weights) for end in (".pt", ".ckpt")
    },
    **{
        f"an extension type in Parquet as {name}": planted(name, extension, use)
        for name, use in (("losses.parquet", as_losses), ("labels.parquet", as_dataset))
    },
    "an extension type in a run": planted("x", extension, in_run("scores.parquet")),
}


# ------------------------------------------------------------------------------------------------ bombs

BOMB_MEMORY = 3 << 30  # bytes of address space beyond what the program has when it is loaded


def png_of(width: int, height: int) -> bytes:
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 << 20))
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def huge_image(data: bytes) -> Case:
    """An image beside good ones: listed as unreadable, with a reason."""

    def case(folder: Path) -> None:
        for at in range(6):
            place = folder / "data" / "ab"[at % 2] / f"{at}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (at, 0, 0)).save(place)
        (folder / "data" / "a" / "huge.png").write_bytes(data)
        found = dataset.load(dataset.open_dataset(folder / "data", check=False), 8).dataset
        assert found.unreadable["path"].tolist() == ["a/huge.png"]
        assert_one_line(found.unreadable["reason"][0])

    return case


def patched(kind: str, offset: int, data: bytes) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind)
    held = bytearray(out.getvalue())
    held[offset : offset + len(data)] = data
    return bytes(held)


def gzip_bomb(folder: Path) -> None:
    path = folder / "losses.csv.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(b"sample,checkpoint,loss\n")
        block = b"0,1,1\n" * 200_000
        for _ in range(260):
            file.write(block)
    must_refuse(lambda: as_losses(path))


def one_long_line(folder: Path) -> None:
    path = folder / "losses.csv.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(320):
            file.write(bytes(1 << 20))
    must_refuse(lambda: as_losses(path))


def zip_bomb(folder: Path) -> None:
    """An npz of which every member claims 4 GB, as its local and central headers say."""
    path, out = folder / "losses.npz", io.BytesIO()
    array = np.zeros((4, 4), np.float32)
    np.savez_compressed(out, **{f"train_losses{at}": array for at in range(16)})
    data = out.getvalue()
    size = zipfile.ZipFile(io.BytesIO(data)).infolist()[0].file_size
    path.write_bytes(data.replace(size.to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little")))
    must_refuse(lambda: as_losses(path))


def real_zip_bomb(folder: Path) -> None:
    """An npz that does unpack to two gigabytes of zeros."""
    path = folder / "losses.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in ("train_losses", "val_losses"):
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(
                    member, {"descr": "<f4", "fortran_order": False, "shape": (1000, 250_000)}
                )
                for _ in range(100):
                    member.write(bytes(10_000_000))
    must_refuse(lambda: as_losses(path))


def huge_header(folder: Path) -> None:
    """An array of 10^18 numbers, by its header."""
    path = folder / "losses.npz"
    with zipfile.ZipFile(path, "w") as file:
        member = io.BytesIO()
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)})
        file.writestr("train_losses.npy", member.getvalue() + bytes(80))
    must_refuse(lambda: as_losses(path))


def repeated_rows(folder: Path) -> None:
    """Parquet of 300 million equal rows in a few hundred kilobytes."""
    path = folder / "labels.parquet"
    row = pa.array(["x.png"], pa.string()).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(10**6, np.int32)), row.dictionary)
    table = pa.table({"path": column, "label": column})
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(300):
            writer.write_table(table)
    assert path.stat().st_size < 1 << 24
    must_refuse(lambda: as_dataset(path))


def nested_json(folder: Path) -> None:
    for name in ("a.json", "a.jsonl"):
        (folder / name).write_bytes(b'{"images":' * 200_000)
        must_refuse(lambda name=name: read_source(str(folder / name)))


BOMBS: dict[str, Case] = {
    "PNG of 100,000 x 100,000 px": huge_image(png_of(100_000, 100_000)),
    "PNG of 2,147,483,647 px a side": huge_image(png_of(2**31 - 1, 2**31 - 1)),
    "JPEG of 65,500 x 65,500 px": huge_image(patched("JPEG", 163, b"\xff\xdc\xff\xdc")),
    "GIF of 65,535 x 65,535 px": huge_image(patched("GIF", 6, b"\xff\xff\xff\xff")),
    "BMP of 100,000 x 100,000 px": huge_image(patched("BMP", 18, (100_000).to_bytes(4, "little") * 2)),
    "CSV of 310 MB in gzip": gzip_bomb,
    "one line of 320 MB in gzip": one_long_line,
    "npz whose members claim 64 GB": zip_bomb,
    "npz that unpacks to 2 GB": real_zip_bomb,
    "npz of 10^18 numbers": huge_header,
    "Parquet of 300,000,000 equal rows": repeated_rows,
    "JSON nested 200,000 deep": nested_json,
}


def defuse(folder: str) -> None:
    """Called in a process of its own: all bombs under a limit of memory; prints what went wrong with each."""
    sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
    from fuzz import limit_memory

    limit_memory(BOMB_MEMORY)
    said = {}
    for at, (name, case) in enumerate(BOMBS.items()):
        place = Path(folder) / str(at)
        place.mkdir()
        try:
            case(place)
            said[name] = ""
        except BaseException as error:
            said[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(said))


@cache
def _defused() -> dict[str, str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        here = str(Path(__file__).parent)
        code = f"import sys; sys.path.insert(0, {here!r}); import hostile; hostile.defuse({folder!r})"
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"the process ended with {done.returncode}: {done.stderr[-300:]}"
    return json.loads(done.stdout.splitlines()[-1])


def limited_memory(name: str) -> Case:
    def case(folder: Path) -> None:
        assert _defused()[name] == "", _defused()[name]

    return case
