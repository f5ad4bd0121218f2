"""A run of any size to measure the dashboard with: real thumbnails repeated, made-up losses, real scores and findings.

    python benchmarks/generated_run.py FOLDER --samples 50000 [--images train-images-idx3-ubyte.gz] [--photo 224]

Makes FOLDER/data (labels.csv and images/000/000000.png ...) and FOLDER/run, with N training samples, 5,000 validation
samples and 24 checkpoints, and prints what took how long. A folder that is whole and was asked for in the same way is
left as it is; one that was cut off is made anew.

The images are those of the embedded demo, or of a gzipped IDX file with its labels beside it (Debian's package
dataset-fashion-mnist): each distinct one is written once, and the samples are hard links to them. `--photo` enlarges
them to JPEGs of that many pixels a side, since thumbnails of photographs cost more to decode. The losses follow a
margin that grows at the sample's own pace: 3 % of the labels are planted as wrong, 7 % of the samples as hard. Scores,
partners and findings are those of the program's own `score_run` and `find_run`; outliers and duplicate pairs, which
need a network and a comparison of all images, are drawn.
"""

import argparse
import io
import itertools
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.assets.make_demo import CLASSES, read_idx
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.runs.open import create_run, open_run
from lossprint.audit.runs.run import Run

DEMO = Path(__file__).resolve().parent.parent / "assets" / "demo"
WRONG, HARD = 0.03, 0.07
GROUPS, OUTLIERS = 0.005, 0.001  # of the training samples: duplicate groups, images beyond the outliers' fence
PHOTOS = 4000  # distinct images that are enlarged
A_FOLDER = 1000  # files


def make(
    folder: str | Path,
    samples: int,
    *,
    images: str | Path | None = None,
    photo: int | None = None,
    validation: int = 5000,
    checkpoints: int = 24,
    seed: int = 0,
) -> Path:
    """Make FOLDER/data and FOLDER/run unless they are whole, and return the path of the run.

    `samples` counts training samples. `images` is a gzipped IDX file of images, None for the demo's. Raises SystemExit
    where the folder holds something else.
    """
    folder = Path(folder).absolute()
    asked = {"samples": samples, "images": images and str(images), "photo": photo, "validation": validation}
    asked |= {"checkpoints": checkpoints, "seed": seed}
    mark = folder / "generated.json"
    if mark.exists():
        found = json.loads(mark.read_text())
        if found == {**asked, "whole": True}:
            return folder / "run"
    elif folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"expected a new folder or one that this made, found other files in {folder}")
    for part in ("run", "data"):
        shutil.rmtree(folder / part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({**asked, "whole": False}))
    _make(folder, samples, images, photo, validation, checkpoints, np.random.default_rng(seed))
    mark.write_text(json.dumps({**asked, "whole": True}))
    return folder / "run"


def _make(folder: Path, train: int, images, photo, validation: int, checkpoints: int, random) -> None:
    clock = _Clock()
    total = train + validation
    encoded, kinds, names = _distinct(images, photo, min(total, PHOTOS) if photo else total)
    plan = _plan(train, validation, kinds, len(names), random)
    suffix = "jpg" if photo else "png"
    table = _table(plan, names, suffix)
    clock.told("planned")
    _write_images(folder / "data", encoded, plan["image"], table["path"])
    table[["path", "label", "split"]].to_csv(folder / "data" / "labels.csv", index=False)
    clock.told("images linked")
    run = _begin(folder, table, names, checkpoints)
    _record(run, plan, train, checkpoints, len(names), random)
    clock.told("losses written")
    run = run.finish("record", checkpoints=checkpoints, seconds=0.0, device="none")
    _curvature(run, plan, train, checkpoints, random)
    run = run.finish("curvature", seconds=0.0)
    run.write_duplicates(plan["duplicates"])
    run = run.finish("embed", seconds=0.0)
    run = score_run(run)
    clock.told("scored")
    _draw_outliers(run, random)
    find_run(run)
    clock.told("found")


class _Clock:
    """Says on stderr what was done and how long it took."""

    def __init__(self):
        self.last = time.perf_counter()

    def told(self, what: str) -> None:
        now = time.perf_counter()
        print(f"  {what}: {now - self.last:.1f} s", file=sys.stderr, flush=True)
        self.last = now


# ---------------------------------------------------------------------------------------------- images


def _distinct(images, photo: int | None, most: int) -> tuple[list[bytes], np.ndarray, list[str]]:
    """At most `most` files as bytes, the class of each (K,) as an index into the names, the sorted names."""
    if images is None:
        truth = pd.read_csv(DEMO / "truth.csv", dtype=str, keep_default_na=False)
        labels = truth["true_label"].to_numpy(object)
        opened = (Image.open(DEMO / path) for path in truth["path"])
    else:
        images = Path(images)
        pixels = read_idx(images)
        numbers = read_idx(images.with_name(images.name.replace("images-idx3", "labels-idx1")))
        labels = np.array(CLASSES, object)[numbers]
        opened = (Image.fromarray(one) for one in pixels)
    names = sorted(set(labels))
    kinds = np.searchsorted(names, labels)
    kinds = kinds[:most]
    return [_file(image, photo) for image in itertools.islice(opened, len(kinds))], kinds, names


def _file(image: Image.Image, photo: int | None) -> bytes:
    buffer = io.BytesIO()
    if photo:
        image.convert("RGB").resize((photo, photo), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _write_images(root: Path, encoded: list[bytes], which: np.ndarray, paths: pd.Series) -> None:
    """One file for each distinct image that is used, and a hard link for each further sample."""
    for number in range(-(-len(paths) // A_FOLDER)):
        (root / "images" / f"{number:04d}").mkdir(parents=True)
    first: dict[int, str] = {}
    for image, path in zip(which.tolist(), paths):
        name = f"{root}/{path}"
        if image in first:
            os.link(first[image], name)
        else:
            Path(name).write_bytes(encoded[image])
            first[image] = name


# ---------------------------------------------------------------------------------------------- samples


def _plan(train: int, validation: int, kinds: np.ndarray, classes: int, random) -> dict:
    """What each of the samples is, training samples first: image, true and given class, rival, wrong, hard; pairs.

    The rival is the class that the model confuses it with: the true one of a wrong label.
    """
    total = train + validation
    rounds = [random.permutation(len(kinds)) for _ in range(-(-total // len(kinds)))]
    image = np.concatenate(rounds)[:total]
    groups = max(1, int(train * GROUPS))
    chosen = random.permutation(train)[:groups]
    others = np.concatenate([random.permutation(np.arange(train, total))[: groups // 10], random.permutation(train)])
    others = others[~np.isin(others, chosen)][:groups]
    image[others] = image[chosen]
    true = kinds[image]
    wrong = (random.random(total) < WRONG) & (np.arange(total) < train)
    wrong[chosen[: groups // 7]] = True  # copies whose labels disagree
    usual = (true + 1 + np.arange(classes)[true] % 3) % classes
    other = (true + random.integers(1, classes, total)) % classes
    confused = np.where(random.random(total) < 0.7, usual, other)
    first, second = np.minimum(chosen, others), np.maximum(chosen, others)
    near = random.random(groups) < 0.3
    pairs = pd.DataFrame(
        {
            "sample": first,
            "partner": second,
            "kind": np.where(near, "near", "exact"),
            "similarity": np.where(near, random.uniform(0.9, 0.99, groups), 1.0),
        }
    )
    return {
        "image": image,
        "given": np.where(wrong, confused, true),
        "rival": np.where(wrong, true, confused),
        "wrong": wrong,
        "hard": random.random(total) < HARD,
        "split": np.where(np.arange(total) < train, "train", "val"),
        "duplicates": pairs.sort_values(["sample", "partner"], ignore_index=True),
    }


def _table(plan: dict, names: list[str], suffix: str) -> pd.DataFrame:
    ids = np.arange(len(plan["image"]))
    frame = pd.DataFrame(
        {
            "sample": ids,
            "path": [f"images/{i // A_FOLDER:04d}/{i:07d}.{suffix}" for i in ids],
            "label": np.array(names, object)[plan["given"]],
            "split": plan["split"],
            "sequence": None,
            "frame": None,
        }
    )
    return frame.astype({"frame": "Int64", **dict.fromkeys(("path", "label", "split", "sequence"), "string")})


def _begin(folder: Path, table: pd.DataFrame, names: list[str], checkpoints: int) -> Run:
    source = folder / "data" / "labels.csv"
    counts = {split: int(n) for split, n in table["split"].value_counts().items()}
    dataset = {
        "source": str(source),
        "root": str(source.parent),
        "kind": "manifest",
        "fingerprint": "generated",
        "classes": names,
        "counts": counts,
        "unreadable": 0,
        "notes": ["Generated for a measurement: the images repeat, and the losses are made up."],
    }
    asked = {"dataset": str(source), "model": "generated", "epochs": checkpoints, "seed": 0}
    run = create_run(folder / "run", asked, dataset, 0)
    run.write_samples(table, pd.DataFrame({"path": [], "reason": []}, dtype="string"))
    return run


# ---------------------------------------------------------------------------------------------- what was recorded


def _record(run: Run, plan: dict, train: int, checkpoints: int, classes: int, random) -> None:
    """One part a checkpoint and split, in the memory of one. Margins grow, those of wrong labels fall and turn."""
    total = len(plan["image"])
    given, rival, wrong, hard = (plan[name] for name in ("given", "rival", "wrong", "hard"))
    pace = random.lognormal(np.log(checkpoints / 6), 0.5, total) * random.uniform(0.7, 1.4, classes)[given]
    height = random.normal(7.0, 2.0, total)
    height[hard] = random.normal(3.5, 1.0, int(hard.sum()))
    pace[hard] *= 2
    height[wrong] = -random.gamma(6.0, 0.8, int(wrong.sum()))
    memory = np.where(wrong, random.gamma(3.0, 1.2, total), 0.0)
    ids = np.arange(total)
    for t in range(1, checkpoints + 1):
        learned = 1 - np.exp(-t / pace)
        late = 1 / (1 + np.exp(-(t - 0.8 * checkpoints) / (checkpoints / 12)))
        wave = random.normal(0, 0.35, classes)[given]
        margin = -0.6 + height * learned + memory * late + wave + random.normal(0, 0.7, total)
        odds = np.exp(-margin) * (1 + 0.3 * np.exp(-3 * learned))
        part = pd.DataFrame(
            {
                "sample": ids,
                "loss": np.log1p(odds).astype(np.float32),
                "margin": margin.astype(np.float32),
                "predicted": np.where(margin > 0, given, rival).astype(np.int32),
                "el2n": (1.35 * odds / (1 + odds)).astype(np.float32),
            }
        )
        run.write_part("train", t, part[:train])
        run.write_part("val", t, part[train:])


def _curvature(run: Run, plan: dict, train: int, checkpoints: int, random) -> None:
    odd = 1.0 + 2.0 * plan["wrong"][:train] + 1.5 * plan["hard"][:train]
    run.write_curvature(
        checkpoints,
        pd.DataFrame(
            {
                "sample": np.arange(train),
                "curvature": random.gamma(2.0, odd),
                "trace": random.normal(0, 1, train),
                "gradient_norm": random.gamma(1.5, odd * 0.3),
            }
        ),
    )


def _draw_outliers(run: Run, random) -> None:
    """Severities of outliers, as they would come from an embedding: most are well below the fence of 0.5."""
    scores = run.scores()
    severity = random.beta(2.0, 5.0, len(scores)) * 0.5
    chosen = random.permutation(len(scores))[: max(1, int(len(scores) * OUTLIERS))]
    severity[chosen] = random.uniform(0.51, 0.9, len(chosen))
    run.write_scores(scores.assign(outlier=severity))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--images", type=Path, metavar="IDX", help="a gzipped IDX file; the demo's images without")
    parser.add_argument("--photo", type=int, metavar="PIXELS", help="enlarge the images to JPEGs of this size")
    options = parser.parse_args()
    run = open_run(make(options.folder, options.samples, images=options.images, photo=options.photo))
    print(run.path)
    for kind, number in run.manifest["facts"]["find"]["findings"].items():
        print(f"{kind:<16} {number:,}")


if __name__ == "__main__":
    main()
