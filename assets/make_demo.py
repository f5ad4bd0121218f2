"""Make the demo dataset again, byte for byte: 5,000 Fashion-MNIST images with known faults in the training split.

    python assets/make_demo.py [FOLDER] [--out OUT]

FOLDER holds the four IDX files of Debian's package dataset-fashion-mnist. OUT (by default `demo` beside this script)
gets labels.csv, truth.csv, README.md, LICENSE.fashion-mnist and images/.

Two choices keep the bytes the same on every machine: numbers come from numpy's RandomState, whose streams are frozen,
and the PNG files are written here, uncompressed, so that no version of zlib has a say in them.
"""

import argparse
import csv
import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SOURCE = Path("/usr/share/datasets/fashion-mnist")
SEED = 20170825
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PER_CLASS = {"train": 400, "val": 50, "test": 50}
WRONG_LABELS = 200
PAIRS = 40  # exact ones, and as many near ones
CONFLICTING = 20  # of each forty

# Which classes get taken for each other, in either direction. The weights follow, rounded, how often five nearest
# neighbours in pixel space confuse the two. Trousers and bags look like nothing else, so they keep their labels.
CONFUSIONS = {
    ("T-shirt", "shirt"): 5,
    ("pullover", "coat"): 5,
    ("pullover", "shirt"): 4,
    ("coat", "shirt"): 3,
    ("sandal", "sneaker"): 3,
    ("sandal", "ankle boot"): 3,
    ("sneaker", "ankle boot"): 2,
    ("dress", "coat"): 2,
    ("T-shirt", "dress"): 1,
    ("T-shirt", "pullover"): 1,
    ("dress", "shirt"): 1,
}
DIRECTED = [*CONFUSIONS, *((given, true) for true, given in CONFUSIONS)]  # (true, given)
WEIGHTS = np.array([*CONFUSIONS.values(), *CONFUSIONS.values()], np.float64)


@dataclass(frozen=True)
class Item:
    """One image of the demo. `file` is its PNG, `pixels` (28, 28) uint8, `true` and `label` class names."""

    pixels: np.ndarray
    file: bytes
    true: str
    label: str
    split: str
    kind: str = ""
    pair: str = ""


# --------------------------------------------------------------------------------------------------------- files


def read_idx(path: Path) -> np.ndarray:
    """A gzipped IDX file as uint8: images (N, 28, 28) or labels (N,). Raises ValueError if it is not one."""
    data = gzip.decompress(path.read_bytes())
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if (zero, kind) != (0, 8):
        raise ValueError(f"expected an IDX file of unsigned bytes, found something else in {path}")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def png(pixels: np.ndarray, style: str = "plain") -> bytes:
    """Encode grey (H, W) uint8 as PNG. The styles differ in their bytes and decode to the same colours.

    plain: 8-bit grey, rows unfiltered. filtered: each byte minus its left neighbour. palette: indices into a palette
    that holds the greys in reverse. rgb: three equal channels.
    """
    height, width = pixels.shape
    colour, extra, rows = 0, b"", pixels
    if style == "palette":
        colour, rows = 3, 255 - pixels
        extra = _chunk(b"PLTE", bytes(255 - grey for grey in range(256) for _ in range(3)))
    elif style == "rgb":
        colour, rows = 2, np.repeat(pixels, 3, axis=1)
    elif style == "filtered":
        rows = np.diff(pixels, axis=1, prepend=np.zeros((height, 1), np.uint8))  # uint8 wraps around, as PNG wants
    filters = np.full((height, 1), 1 if style == "filtered" else 0, np.uint8)
    data = np.hstack([filters, rows]).tobytes()
    # One stored block of deflate: the length, its complement, the bytes as they are.
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = stored + struct.pack(">I", zlib.adler32(data))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# -------------------------------------------------------------------------------------------------------- faults


def nearly(pixels: np.ndarray, shift: tuple[int, int], percent: int, mirrored: bool) -> np.ndarray:
    """A near duplicate of (28, 28) uint8: mirrored or not, moved by a pixel, brightness times percent, JPEG q=60."""
    if mirrored:
        pixels = pixels[:, ::-1]
    moved = np.roll(np.pad(pixels, 1), shift, axis=(0, 1))[1:-1, 1:-1]
    bright = np.clip((moved.astype(np.int64) * percent + 50) // 100, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(bright).save(buffer, "JPEG", quality=60)
    return np.array(Image.open(buffer), np.uint8)


def apportion(total: int) -> list[tuple[str, str]]:
    """`total` confusions (true, given) in proportion to the weights, by largest remainder."""
    shares = WEIGHTS / WEIGHTS.sum() * total
    counts = np.floor(shares).astype(int)
    most = np.argsort(counts - shares, kind="stable")[: total - counts.sum()]
    counts[most] += 1
    return [confusion for confusion, count in zip(DIRECTED, counts, strict=True) for _ in range(count)]


def draw_copies(rng: np.random.RandomState) -> list[tuple[str, str, str]]:
    """The copies to make, exact ones first: (kind, true class, given class). The first 20 of each 40 conflict."""
    copies = []
    for kind in ("exact", "near"):
        for number in range(PAIRS):
            if number < CONFLICTING:
                true, given = DIRECTED[rng.choice(len(DIRECTED), p=WEIGHTS / WEIGHTS.sum())]
            else:
                true = given = CLASSES[rng.randint(len(CLASSES))]
            copies.append((kind, true, given))
    return copies


def draw_originals(images, labels, counts: dict[str, int], seen: set[bytes], rng) -> dict[str, list[np.ndarray]]:
    """Draw counts[class] images of each class, none equal in its pixels to one drawn before (`seen` is added to)."""
    drawn = {}
    for index, name in enumerate(CLASSES):
        drawn[name] = chosen = []
        for row in rng.permutation(np.flatnonzero(labels == index)):
            if len(chosen) == counts[name]:
                break
            if images[row].tobytes() not in seen:
                seen.add(images[row].tobytes())
                chosen.append(images[row])
    return drawn


def make_items(folder: Path) -> list[Item]:
    """All images with their faults, in the order of their file names."""
    rng = np.random.RandomState(SEED)
    copies = draw_copies(rng)
    seen: set[bytes] = set()
    missing = {name: sum(true == name for _, true, _ in copies) for name in CLASSES}
    counts = {name: PER_CLASS["train"] + PER_CLASS["val"] - missing[name] for name in CLASSES}
    train = [read_idx(folder / f"train-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1")]
    test = [read_idx(folder / f"t10k-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1")]
    learning = draw_originals(*train, counts, seen, rng)
    testing = draw_originals(*test, dict.fromkeys(CLASSES, PER_CLASS["test"]), seen, rng)

    # The images of a class come in random order, so taking them from the front draws them at random.
    items = []
    for name in CLASSES:
        items += [Item(pixels, png(pixels), name, name, "test") for pixels in testing[name]]
        items += [Item(pixels, png(pixels), name, name, "val") for pixels in learning[name][: PER_CLASS["val"]]]
        del learning[name][: PER_CLASS["val"]]

    for number, (kind, true, given) in enumerate(copies):
        pixels = learning[true].pop(0)
        shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
        if kind == "exact":
            copy, style = pixels, ("filtered", "palette", "rgb")[number % 3]
        else:
            copy = nearly(pixels, shifts[rng.randint(len(shifts))], (95, 105)[rng.randint(2)], mirrored=number % 3 == 0)
            style = "plain"
        pair = f"p{number:02d}"
        items.append(Item(pixels, png(pixels), true, true, "train", kind, pair))
        items.append(Item(copy, png(copy, style), true, given, "train", kind, pair))

    for true, given in apportion(WRONG_LABELS):
        pixels = learning[true].pop(0)
        items.append(Item(pixels, png(pixels), true, given, "train", "label_error"))
    for name in CLASSES:
        items += [Item(pixels, png(pixels), name, name, "train") for pixels in learning[name]]
    return [items[i] for i in rng.permutation(len(items))]


# ------------------------------------------------------------------------------------------------------- writing


def write_demo(folder: Path, out: Path) -> None:
    """Write the demo dataset of the IDX files in `folder` to `out`; images of an earlier run are replaced."""
    items = make_items(folder)
    (out / "images").mkdir(parents=True, exist_ok=True)
    for old in sorted((out / "images").glob("*.png")):
        old.unlink()
    labels, truth = [], []
    for number, item in enumerate(items):
        path = f"images/{number:05d}.png"
        (out / path).write_bytes(item.file)
        labels.append((path, item.label, item.split))
        truth.append((path, item.true, int(item.label != item.true), item.kind, item.pair))
    _write_csv(out / "labels.csv", ("path", "label", "split"), labels)
    _write_csv(out / "truth.csv", ("path", "true_label", "is_error", "kind", "pair_id"), truth)
    (out / "LICENSE.fashion-mnist").write_text(LICENSE, encoding="utf-8", newline="\n")
    (out / "README.md").write_text(readme(items), encoding="utf-8", newline="\n")


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def readme(items: list[Item]) -> str:
    """README.md: what was planted, with the numbers counted from the items."""
    wrong = [(item.true, item.label) for item in items if item.kind == "label_error"]
    table = "\n".join(f"| {true} | {given} | {wrong.count((true, given))} |" for true, given in sorted(set(wrong)))
    return README.format(wrong=len(wrong), table=table, seed=SEED, pairs=PAIRS, conflicting=CONFLICTING)


README = """\
# The demo dataset

5,000 grey images of 28 x 28 pixels from Fashion-MNIST, ten classes: 4,000 to train on, 500 to validate, 500 to test,
each split with equally many of every true class. `labels.csv` is an ordinary manifest (`path,label,split`).
Fashion-MNIST is Copyright (c) 2017 Zalando SE, under the MIT licence beside this file.

## What was planted

Only in the training split, and recorded in `truth.csv` (`path,true_label,is_error,kind,pair_id`), which the audit
never reads:

- {wrong} wrong labels (`kind` is `label_error`), by the table below;
- {pairs} exact pairs (`exact`): the copy has the same pixels in a file with other bytes (PNG filter, palette or RGB);
- {pairs} near pairs (`near`): the copy is moved by one pixel in one of the eight directions, 5 % brighter or darker,
  and went through a JPEG file of quality 60; a third of them are mirrored as well.

In {conflicting} pairs of each kind the copy carries a wrong label, drawn at random from the same confusions. Copies
count in the 4,000, and `pair_id` joins the two of a pair. No image of a pair is among the {wrong}, and each has one
partner only. File names follow a random order and say nothing.

| true class | wrong label | images |
| --- | --- | --- |
{table}

The numbers follow how often nearest neighbours confuse two classes. Beyond what was planted, the images and labels are
Fashion-MNIST's own, with its own errors and look-alikes; of images with identical pixels only one was drawn.

## Making it again

With Debian's package `dataset-fashion-mnist` installed, `python assets/make_demo.py` writes this folder again, the
same in every byte (seed {seed}). Its argument is the folder with the four IDX files; `--out` writes elsewhere.
"""

LICENSE = """\
The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of
this software and associated documentation files (the "Software"), to deal in
the Software without restriction, including without limitation the rights to
use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies
of the Software, and to permit persons to whom the Software is furnished to do
so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo dataset from the IDX files of Fashion-MNIST.")
    parser.add_argument("folder", nargs="?", type=Path, default=SOURCE, help="folder with the four .gz files")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "demo")
    asked = parser.parse_args()
    write_demo(asked.folder, asked.out)


if __name__ == "__main__":
    main()
