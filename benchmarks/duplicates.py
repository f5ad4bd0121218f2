"""Duplicates found, beside cleanvision and imagededup: pairs, false groups, conflicting labels, time and memory.

    python benchmarks/duplicates.py [FOLDER ...] [--run FOLDER=RUN ...] [--fresh SOURCE ...] [--seed S]
                                    [--scale IDX] [--limit N] [--seconds S] [--gigabytes G] [--tools NAME ...]

FOLDER holds images/, labels.csv (path,label) and truth.csv (path,kind,pair_id); by default the demo. --run gives the
audited run of one of them: its embedding joins the search, and its findings are ranked by conflicting labels. --fresh
draws new copies, by a list of changes, of the images of SOURCE: a folder with labels.csv, or a gzipped IDX file.
--scale plants near and exact copies among the images of an IDX file, --limit images in all (60,000 by default). The
peers come with `pip install cleanvision imagededup`, scipy with the extra `test`; one that is missing is named so.

Each tool reads the same files in a process of its own, and one that takes more than --seconds or --gigabytes is tried
at a quarter of the images. Memory is the most that its processes held together (PSS, sampled; Linux only). A pair is
found if the tool reports those two images as a pair; precision is over all pairs it reports. A group, joined from
pairs, is false if it is more than one planted pair: some are duplicates that were in the data beforehand.
"""

import argparse
import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from changes import CHANGES, PACK, planted, read_images  # beside this file
from PIL import Image, ImageFilter

DEMO = Path(__file__).parent.parent / "assets" / "demo"
WORKER = "--one"  # how this file calls itself
NEEDS = {"ours": "lossprint", "cleanvision": "cleanvision", "phash": "imagededup", "phash-4": "imagededup"}
NAMES = {
    "ours": "lossprint",
    "cleanvision": "cleanvision",
    "phash": "imagededup PHash, 10 bits (its default)",
    "phash-4": "imagededup PHash, 4 bits",
}


# ---------------------------------------------------------------------------------------------- tools


def ours(folder: Path, run: str | None):
    """What `lossprint audit` writes to duplicates.parquet, with the run's embedding or none."""
    from lossprint.audit import open_run
    from lossprint.audit.findings.duplicates import duplicate_pairs
    from lossprint.audit.training import loading
    from lossprint.scoring.duplicates import components, exact_pairs

    vectors = None
    if run:
        ids, vectors = open_run(run).embeddings()
    yield
    loaded, _ = loading.load({**loading.DEFAULTS, "dataset": str(folder / "labels.csv")}, quiet=True)
    rows = loaded.dataset.samples["sample"].to_numpy()
    if vectors is not None and not np.array_equal(ids, rows):
        raise SystemExit(f"expected a run of {folder}, found other samples in {run}")
    found, _ = duplicate_pairs(loaded, vectors)
    exact = found[found["kind"] == "exact"]
    group = components(exact["sample"].to_numpy(), exact["partner"].to_numpy(), rows.max() + 1)
    yield inside([rows[one] for one in exact_pairs(group[rows].tolist())])
    yield found[["sample", "partner"]].to_numpy(np.int64)


def cleanvision(folder: Path, run: str | None):
    from cleanvision import Imagelab

    row = {str(folder / path): index for index, path in enumerate(pd.read_csv(folder / "labels.csv")["path"])}
    yield
    lab = Imagelab(filepaths=list(row))
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, verbose=False)
    for kind in ("exact_duplicates", "near_duplicates"):
        yield inside([np.array([row[path] for path in group]) for group in lab.info[kind]["sets"]])


def phash(folder: Path, run: str | None, distance: int = 10):
    from imagededup.methods import PHash

    row = {Path(path).name: index for index, path in enumerate(pd.read_csv(folder / "labels.csv")["path"])}
    yield
    method = PHash(verbose=False)
    hashes = method.encode_images(image_dir=str(folder / "images"))
    found = method.find_duplicates(encoding_map=hashes, max_distance_threshold=distance)
    for name, others in found.items():
        if others:
            yield np.array([(row[name], row[other]) for other in others])


def phash_4(folder: Path, run: str | None):
    return phash(folder, run, distance=4)


def inside(groups: list[np.ndarray]) -> np.ndarray:
    """All pairs (P, 2) within groups of rows."""
    pairs = [np.stack([group[i] for i in np.triu_indices(len(group), 1)], axis=1) for group in groups]
    return np.concatenate([np.empty((0, 2), np.int64), *pairs])


TOOLS: dict[str, Callable] = {"ours": ours, "cleanvision": cleanvision, "phash": phash, "phash-4": phash_4}


def work(tool: str, folder: Path, out: Path, run: str | None) -> None:
    """One tool on one folder, in this process: seconds, from reading the files on, and its pairs (P, 2), to a file."""
    parts = TOOLS[tool](folder, run)
    next(parts)  # imports what it needs
    began = time.perf_counter()
    found = list(parts)
    seconds = time.perf_counter() - began
    pairs = np.sort(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=1)
    keys = np.unique(pairs[:, 0] << 32 | pairs[:, 1])
    np.savez(out, seconds=seconds, pairs=np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1))


@dataclass(frozen=True)
class Outcome:
    """pairs (P, 2) of rows of labels.csv, ascending; seconds; the most gigabytes held. error: why there are none."""

    pairs: np.ndarray | None
    seconds: float
    gigabytes: float
    error: str = ""


def held(session: int) -> float:
    """Gigabytes that the processes of a session hold together, pages shared among them counted once."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[3]) == session:
                lines = status.with_name("smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):  # it has ended meanwhile
            continue
    return total * 1024 / 1e9


def call(tool: str, folder: Path, seconds: float, gigabytes: float, run: str | None = None) -> Outcome:
    """One tool on one folder, in a process of its own."""
    try:
        importlib.metadata.version(NEEDS[tool])
    except importlib.metadata.PackageNotFoundError:
        return Outcome(None, 0, 0, f"not installed: pip install {NEEDS[tool]}")
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "pairs.npz"
        command = [sys.executable, __file__, WORKER, tool, str(folder), str(out), *([run] if run else [])]
        began, peak, error = time.perf_counter(), 0.0, ""
        with open(Path(place) / "log", "w+") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            while process.poll() is None:
                time.sleep(0.1)
                peak = max(peak, held(process.pid))
                if time.perf_counter() - began > seconds or peak > gigabytes:
                    error = f"over {seconds:g} s" if peak <= gigabytes else f"over {gigabytes:g} GB"
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if process.returncode and not error:
                log.seek(0)
                error = (log.read().strip().splitlines() or ["no message"])[-1]
        if error:
            return Outcome(None, time.perf_counter() - began, peak, error)
        with np.load(out) as found:
            return Outcome(found["pairs"], float(found["seconds"]), peak)


# ---------------------------------------------------------------------------------------------- grading


def mirrored(left: Image.Image, right: Image.Image) -> bool:
    """Whether a copy resembles the mirror image more, for packs that do not say."""
    a, b = (
        np.asarray(image.convert("L").filter(ImageFilter.GaussianBlur(1)), float).ravel() for image in (left, right)
    )
    flipped = b.reshape(right.height, right.width)[:, ::-1].ravel()
    return bool(np.corrcoef(a, flipped)[0, 1] > np.corrcoef(a, b)[0, 1])


@dataclass(frozen=True)
class Truth:
    """Planted pairs (P, 2) of rows of labels.csv, ascending; kind, change (P,) str and mirrored (P,) bool."""

    size: int
    pairs: np.ndarray
    kind: np.ndarray
    change: np.ndarray
    mirrored: np.ndarray


def read_truth(folder: Path) -> Truth:
    paths = pd.read_csv(folder / "labels.csv", dtype=str)["path"]
    truth = pd.read_csv(folder / "truth.csv", dtype=str, keep_default_na=False).set_index("path").loc[paths]
    truth["row"] = np.arange(len(truth))
    given = list(truth[truth["kind"].isin(("exact", "near"))].groupby(["kind", "pair_id"]))
    rows = [group["row"].tolist() for _, group in given]
    kind = np.array([key[0] for key, _ in given], str)
    if "change" in truth:
        change = np.array([group["change"].iloc[0] for _, group in given], str)
        flipped = np.array([group["mirrored"].iloc[0] == "1" for _, group in given], bool)
    else:
        change = np.full(len(rows), "")
        flipped = np.array([mirrored(*(Image.open(folder / paths[row]) for row in pair)) for pair in rows])
    return Truth(len(paths), np.array(rows, np.int64).reshape(-1, 2), kind, change, flipped & (kind == "near"))


def false_groups(truth: Truth, pairs: np.ndarray) -> int:
    """Connected groups of the reported pairs that are more than one planted pair."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(truth.size, truth.size))
    _, group = connected_components(graph, directed=False)
    members = np.bincount(group)
    whole = group[truth.pairs[:, 0]][group[truth.pairs[:, 0]] == group[truth.pairs[:, 1]]]
    return int((members > 1).sum() - (members[np.unique(whole)] == 2).sum())


def hits(truth: Truth, pairs: np.ndarray) -> np.ndarray:
    """(P,) bool: which planted pairs were reported."""
    return np.isin(truth.pairs[:, 0] << 32 | truth.pairs[:, 1], pairs[:, 0] << 32 | pairs[:, 1])


def graded(truth: Truth, outcome: Outcome) -> list[str]:
    """One row of the table."""
    found = hits(truth, outcome.pairs)
    cells = []
    for chosen in (truth.kind == "exact", truth.kind == "near", truth.mirrored):
        cells.append(f"{found[chosen].sum()} of {chosen.sum()}")
    false = false_groups(truth, outcome.pairs)
    precision = f"{found.sum() / len(outcome.pairs):.3f}" if len(outcome.pairs) else "-"
    used = [f"{outcome.seconds:.1f} s", f"{outcome.gigabytes:.2f} GB"]
    return [*cells, f"{precision} of {len(outcome.pairs):,}", f"{false:,}", f"{500 * false / truth.size:.2f}", *used]


def conflict_auroc(folder: Path, run: str) -> str:
    """AUROC of the severity of findings of conflicting duplicates, over the training samples."""
    from against_truth import auroc

    from lossprint.audit import open_run

    opened = open_run(run)
    labels = pd.read_csv(folder / "labels.csv", dtype=str).set_index("path")["label"]
    truth = pd.read_csv(folder / "truth.csv", dtype=str, keep_default_na=False)
    truth = truth[truth["kind"].isin(("exact", "near"))]
    different = truth["path"].map(labels).groupby([truth["kind"], truth["pair_id"]]).transform("nunique") > 1
    findings = opened.findings()
    findings = findings[findings["kind"].isin(("duplicate", "near_duplicate"))]
    differ = findings.groupby(["kind", "group"])["label"].transform("nunique") > 1
    severity = findings[differ].groupby("path")["severity"].max()
    paths = opened.scores()["path"]
    positive = paths.isin(truth.loc[different, "path"]).to_numpy()
    score = paths.map(severity).fillna(0.0).to_numpy(float)
    return f"{auroc(positive, score):.4f} ({positive.sum()} of {len(positive):,} training samples)"


# ---------------------------------------------------------------------------------------------- the table


def compare(name: str, folder: Path, options: argparse.Namespace, run: str | None = None) -> None:
    """Print each tool's row for one folder and, where the changes are known, how many of each it found."""
    truth = read_truth(folder)
    by_change = {}
    calls = [(tool, None) for tool in options.tools]
    for tool, given in [*calls, *([("ours", run)] if run and "ours" in options.tools else [])]:
        outcome = call(tool, folder, options.seconds, options.gigabytes, given)
        label = NAMES[tool] + (" with the run's embedding" if given else "")
        if outcome.error:
            show(name, label, outcome.error)
            continue
        show(name, label, *graded(truth, outcome))
        found = hits(truth, outcome.pairs)
        by_change[tool] = {c: found[truth.change == c] for c in dict.fromkeys(truth.change) if c}
    for change in CHANGES:
        cells = [f"{t}: {rows[change].sum()} of {len(rows[change])}" for t, rows in by_change.items() if change in rows]
        if len(set(truth.change)) > 2 and cells:
            show(name, change, *cells)
    if run:
        show(name, "conflicting labels: AUROC of our findings", conflict_auroc(folder, run))


def show(*cells: str) -> None:
    print(" | ".join(cells), flush=True)


def fresh(source: Path, options: argparse.Namespace) -> None:
    """New copies of every kind of change."""
    random = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as place:
        images = read_images(source, min(options.limit, 4000), random)
        count = max(1, min(60, len(images) // (2 * len(CHANGES))))
        names = [name for name in CHANGES if name != "grey" or images[0].mode == "RGB"]
        plan = [("near", name, i % 3 == 0 or "mirror" in name) for name in names for i in range(count)]
        folder = planted(images, plan, Path(place) / "fresh", random)
        compare(f"{source.name}, {len(images):,} and copies, seed {options.seed}", folder, options)


def scale(source: Path, options: argparse.Namespace) -> None:
    """Every tool at --limit images; one that is cut off goes on at a quarter of them, until it passes."""
    asked = list(options.tools)
    size = options.limit
    while asked and size >= 200:
        random = np.random.default_rng(options.seed)
        near, exact = size // 100, size // 300
        plan = [("near", PACK, i % 3 == 0) for i in range(near)] + [("exact", "", False)] * exact
        with tempfile.TemporaryDirectory() as place:
            images = read_images(source, size - len(plan), random)
            folder = planted(images, plan, Path(place) / "scale", random)
            truth = read_truth(folder)
            cut = []
            for tool in asked:
                outcome = call(tool, folder, options.seconds, options.gigabytes)
                cells = [outcome.error] if outcome.error else graded(truth, outcome)
                show(f"{truth.size:,} images of {source.name}", NAMES[tool], *cells)
                cut += [tool] if outcome.error.startswith("over") else []
        asked, size = cut, size // 4


def main() -> None:
    if sys.argv[1:2] == [WORKER]:
        tool, folder, out, *run = sys.argv[2:]
        work(tool, Path(folder), Path(out), *(run or [None]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--run", action="append", default=[], metavar="FOLDER=RUN")
    parser.add_argument("--fresh", nargs="*", default=[], type=Path, metavar="SOURCE")
    parser.add_argument("--scale", type=Path, metavar="IDX")
    parser.add_argument("--limit", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--gigabytes", type=float, default=12)
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    options = parser.parse_args()
    runs = {str(Path(folder).resolve()): run for folder, _, run in (pair.partition("=") for pair in options.run)}
    peers = sorted({NEEDS[tool] for tool in options.tools})
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(peers)}")
    show("dataset", "tool", "exact", "near", "of them mirrored", "precision of pairs", "false groups", "in 500", "", "")
    folders = options.folders or ([] if options.fresh or options.scale else [DEMO])
    for folder in folders:
        compare(folder.resolve().name, folder.resolve(), options, runs.get(str(folder.resolve())))
    for source in options.fresh:
        fresh(source, options)
    if options.scale:
        scale(options.scale, options)


if __name__ == "__main__":
    main()
