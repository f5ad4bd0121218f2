"""Copies changed in 18 ways, and false groups, in datasets of different sort, beside cleanvision and imagededup.

    python benchmarks/copies.py [--data SOURCE ...] [--counts C ...] [--images N] [--seed S] [--tools NAME ...]

SOURCE is a folder with labels.csv or a gzipped IDX file; three datasets of look-alikes that are no copies (photos of a
fixed camera, readings of a meter, one template in four colours) are made up beside them. Of each dataset N images at
most are drawn, and C copies of each kind planted among them, each of an image of its own; 0 copies show what is found
where nothing was planted: of real data some is the data's own. The rows are Markdown: how many of each kind a tool
found, how many groups it reports that are not one planted pair, its seconds and gigabytes.
"""

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
from changes import ALIKE, CHANGES, MIRRORED, planted, read_images  # beside this file
from duplicates import NAMES, NEEDS, call, false_groups, hits, read_truth

KINDS = list(CHANGES)
LOOKALIKES = 200


def drawn(source: str, most: int, random: np.random.Generator) -> list:
    return ALIKE[source](min(most, LOOKALIKES), random) if source in ALIKE else read_images(Path(source), most, random)


def measured(source: str, count: int, options: argparse.Namespace) -> list[str]:
    """The rows of one dataset with `count` copies of each kind, one a tool."""
    random = np.random.default_rng(options.seed)
    images = drawn(source, options.images, random)
    kinds = [kind for kind in KINDS if kind != "grey" or images[0].mode == "RGB"]
    count = min(count, len(images) // len(kinds))
    plan = [
        ("near", kind, "mirror" in kind or (kind in MIRRORED and at % 3 == 0)) for kind in kinds for at in range(count)
    ]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = planted(images, plan, Path(place) / "data", random)
        truth = read_truth(folder)
        for tool in options.tools:
            outcome = call(tool, folder, options.seconds, options.gigabytes)
            name = f"{Path(source).name}: {len(images):,} + {len(plan):,}"
            if outcome.error:
                rows.append(f"| {name} | {NAMES[tool]} | {outcome.error} |")
                continue
            found = hits(truth, outcome.pairs)
            cells = [str(found[truth.change == kind].sum()) if kind in kinds and count else "" for kind in KINDS]
            false = false_groups(truth, outcome.pairs)
            used = f"{outcome.seconds:.0f} s, {outcome.gigabytes:.2f} GB"
            rows.append(f"| {name} | {NAMES[tool]} | {' | '.join(cells)} | {false:,} | {used} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=[], metavar="SOURCE")
    parser.add_argument("--counts", nargs="*", type=int, default=[0, 6, 60])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--gigabytes", type=float, default=12)
    parser.add_argument("--tools", nargs="*", default=["ours", "cleanvision", "phash"], choices=list(NEEDS))
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, seed {options.seed}\n")
    print(f"| dataset | tool | {' | '.join(KINDS)} | false groups | used |\n|{' --- |' * (len(KINDS) + 4)}", flush=True)
    for source in [*options.data, *ALIKE]:
        for count in options.counts if source not in ALIKE else options.counts[:1]:
            print("\n".join(measured(source, count, options)), flush=True)


if __name__ == "__main__":
    main()
