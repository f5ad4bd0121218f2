"""What each way to choose a coreset is worth: accuracy at equal steps, beside random, over methods, sizes and noise.

    python benchmarks/coreset.py fashion IDX --work DIR [--noise 0 20 40] [--train 60000] ...   make, audit, evaluate
    python benchmarks/coreset.py pack PACK --work DIR ...           the same on PACK/labels.csv, its noise as it is
    python benchmarks/coreset.py half DIR           CLD of the first half of the checkpoints of each run of DIR
    python benchmarks/coreset.py claims DIR         the papers' claims, true or false
    python benchmarks/coreset.py table DIR          accuracies, and how ours does beside all others
    python benchmarks/coreset.py selectors [--samples N] [--classes C]       time and memory of each selector
    python benchmarks/coreset.py peer               facility location beside apricot
    python benchmarks/coreset.py precision [--model M]      seconds a training step, float32 beside bfloat16

IDX is a folder of gzipped IDX files (Debian's dataset-fashion-mnist). 5,000 training images, or --val, become a clean
validation split; a share of the labels of the others is changed, evenly among the other classes. DIR/fashion holds the
images and truth.csv, which only the share of noisy labels kept is read from, DIR/NAME/run each audit. What was cut off
goes on where it was. Everything is measured on the test split, whose labels are right.

Whether scores of one network serve another is a claim about a run DIR/NAME/run that was also evaluated with --model
OTHER, and a run of the same data by that network itself, in DIR/NAME.OTHER/run.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from lossprint.assets.make_demo import read_idx
from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets import evaluate
from lossprint.audit.coresets.evaluated import ranked
from lossprint.audit.export.applied import applied
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.training import train
from lossprint.audit.training.inputs import Inputs
from lossprint.audit.training.recipe import Recipe
from lossprint.audit.workflow.audit import audit
from lossprint.scoring.coresets.coreset import Pool, select
from lossprint.scoring.coresets.cover import facility_location
from lossprint.scoring.coresets.gradients import LastLayer
from lossprint.scoring.coresets.methods import METHODS

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FRACTIONS = (0.01, 0.05, 0.1, 0.3, 0.5, 1.0)


def make_fashion(idx: Path, folder: Path, noise: int, train: int, val: int, seed: int = 0) -> None:
    """FOLDER/labels-NOISE.csv and truth.csv beside the images: so many percent of the training labels are wrong."""
    random = np.random.default_rng(seed)
    rows = []
    for split, count in (("train", train), ("t10k", None)):
        pixels, labels = (read_idx(idx / f"{split}-{what}.gz") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        for at in range(len(pixels))[:count]:
            rows.append((split, at, pixels[at], int(labels[at])))
    held_out = set(random.permutation(min(train, 60_000))[:val].tolist())
    table = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for split, at, pixels, label in rows:
        path = folder / "images" / f"{split}-{at:05d}.png"
        if not path.exists():
            Image.fromarray(pixels).save(path, compress_level=1)
        part = "test" if split == "t10k" else "val" if at in held_out else "train"
        table.append((f"images/{path.name}", label, part))
    frame = pd.DataFrame(table, columns=["path", "true", "split"])
    wrong = (frame["split"] == "train") & (random.random(len(frame)) < noise / 100)
    other = (frame["true"] + random.integers(1, len(CLASSES), len(frame))) % len(CLASSES)
    names = np.array(CLASSES, object)
    given = names[np.where(wrong, other, frame["true"])]
    frame.assign(label=given)[["path", "label", "split"]].to_csv(folder / f"labels-{noise}.csv", index=False)
    frame.assign(true_label=names[frame["true"]])[["path", "true_label"]].to_csv(folder / "truth.csv", index=False)


def audited(manifest: Path, place: Path, options) -> Run:
    """The run at `place`, made or gone on with where it is not whole."""
    began = time.perf_counter()
    run = audit(
        str(manifest),
        place,
        model=options.model,
        epochs=options.epochs,
        curvature_checkpoints=options.curvature_checkpoints,
        resume=(place / "run.json").exists(),
        device=options.device,
    )
    print(f"{place.parent.name}: audit {time.perf_counter() - began:.0f} s", flush=True)
    return run


def measure(name: str, manifest: Path, truth: Path, options) -> None:
    run = audited(manifest, options.work / name / "run", options)
    source = coresets.source_of(applied(run))
    methods = options.methods or [one for one in METHODS if not coresets.lacking(source, one)]
    began = time.perf_counter()
    table = evaluate.evaluate(
        run,
        methods,
        options.fractions,
        seeds=options.seeds,
        steps=options.steps,
        truth=truth,
        model=options.train_model,
        device=options.device,
        precision=options.precision,
    )
    print(f"\n{name}: evaluation {time.perf_counter() - began:.0f} s\n{evaluate.text(table)}", flush=True)


def halved(options) -> None:
    """Beside each run of DIR one with the first half of its checkpoints only, and CLD's subsets of it evaluated."""
    for run in runs_of(options.work):
        place = run.path.parent.with_name(f"{run.path.parent.name}.half") / "run"
        if not place.exists():
            skip = shutil.ignore_patterns("checkpoints", "evaluation.parquet", "overlap.parquet", "selections")
            shutil.copytree(run.path, place, ignore=skip)
            half = open_run(place)
            half.drop_parts_after((run.recorded()[-1] + 1) // 2)
            find_run(score_run(half))
        half = open_run(place)
        how = {"seeds": options.seeds, "steps": options.steps, "precision": options.precision}
        evaluate.evaluate(half, ["cld"], options.fractions, **how)


def runs_of(work: Path) -> list[Run]:
    """The runs in a folder; what stands beside one, NAME.half or NAME.MODEL, is left out."""
    paths = {path.parent.parent.name: path.parent for path in sorted(work.glob("*/run/run.json"))}
    return [open_run(path) for name, path in paths.items() if name.rpartition(".")[0] not in paths]


def measured(run: Run, model: str | None = None, steps: int | None = None, split: str = "test") -> pd.DataFrame:
    """Cells of a split, the run's own model and its most frequent steps if not told, indexed by method and fraction."""
    table = evaluate.cells(run.evaluation())
    model = model or run.manifest["asked"].get("model")
    table = table[(table["split"] == split) & (table["model"] == model) & (table["options"] == "")]
    return table[table["steps"] == (steps or table["steps"].mode()[0])].set_index(["method", "fraction"])


def claims(options) -> None:
    for run in runs_of(options.work):
        name, table = run.path.parent.name, measured(run, steps=options.steps)
        if table.empty:  # not with so many steps
            continue
        fractions = [one for one in sorted({key[1] for key in table.index}) if one < 1]
        steps = int(table["steps"].iloc[0])
        points = 100 * table["accuracy"]
        print(f"\n{name}: {steps} steps, {table['seeds'].max()} seeds, test accuracy in points")

        def say(claim: str, gaps: dict, holds, name=name) -> None:
            told = ", ".join(f"{100 * f:g} %: {gap:+.1f}" for f, gap in gaps.items()) or "not measured"
            held = "TRUE " if gaps and all(holds(gap) for gap in gaps.values()) else "FALSE" if gaps else "-    "
            print(f"  {held} {claim}: {told}")

        def gaps(other: str, some=fractions, points=points) -> dict:
            both = [f for f in some if ("cld", f) in points.index and (other, f) in points.index]
            return {f: points["cld", f] - points[other, f] for f in both}

        over = gaps("cld_reversed")
        say("CLD above its reverse everywhere", over, lambda gap: gap > 0)
        over = gaps("random", [f for f in fractions if f in (0.1, 0.3)])
        say("CLD above random by 3 points at 10 and 30 %", over, lambda gap: gap >= 3)
        other = run.path.parent.with_name(f"{name}.half") / "run"
        if (other / "evaluation.parquet").exists():
            half = 100 * measured(open_run(other), steps=steps)["accuracy"]
            both = points.index.intersection(half.index)
            over = {f: half["cld", f] - points["cld", f] for f in fractions if ("cld", f) in both}
            say("CLD of the first half of the checkpoints within 1 point", over, lambda gap: gap > -1)
        for model in sorted(set(run.evaluation()["model"]) - {run.manifest["asked"].get("model")}):
            its = run.path.parent.with_name(f"{name}.{model}") / "run"
            if (its / "evaluation.parquet").exists():
                own, ours = (100 * measured(one, model, steps)["accuracy"] for one in (open_run(its), run))
                over = {f: ours["cld", f] - mean for (one, f), mean in own.items() if one == "cld" and (one, f) in ours}
                say(f"CLD of this run used for {model} within 1 point of its own", over, lambda gap: gap > -1)
        scores = run.scores()
        shares = {}
        for f in fractions:
            top = scores.nlargest(round(f * len(scores)), "cld")["label"].value_counts(normalize=True)
            whole = scores["label"].value_counts(normalize=True)
            shares[f] = (top.reindex(whole.index).fillna(0) / whole).agg(["min", "max"])
        told = ", ".join(f"{100 * f:g} %: {one['min']:.2f} to {one['max']:.2f}" for f, one in shares.items())
        balanced = all(one["min"] > 0.5 and one["max"] < 2 for one in shares.values())
        print(f"  {'TRUE ' if balanced else 'FALSE'} CLD without strata keeps classes within half and double: {told}")


def table(options) -> None:
    """Accuracies of every run, and in how many cells ours is at or above every other method within the spread.

    Where ours is `measured`, it is in each cell the method that is best on the validation samples; the test samples,
    which it is judged on, have no part in that.
    """
    cells, lost = dict.fromkeys(options.best, 0), {best: [] for best in options.best}
    for run in runs_of(options.work):
        name, found = run.path.parent.name, measured(run, steps=options.steps).reset_index()
        if found.empty:  # not with so many steps
            continue
        val = measured(run, steps=int(found["steps"].iloc[0]), split="val").reset_index()
        lines = markdown(found) if options.markdown else [evaluate.text(run.evaluation(), "test")]
        print(f"\n{name}\n", *lines, sep="\n")
        for fraction, mine in found[found["fraction"] < 1].groupby("fraction"):
            mine = mine.set_index("method")
            singles = mine[~mine.index.isin(OURS)]
            best = singles.loc[singles["accuracy"].idxmax()]
            for one in options.best:
                method = next(iter(ranked(val, fraction).index), None) if one == coresets.MEASURED else one
                if method not in mine.index:
                    continue
                ours = mine.loc[method]
                # Of two means of as many seeds: the deviation of their difference.
                spread = np.sqrt((ours["spread"] ** 2 + best["spread"] ** 2) / ours["seeds"])
                spread = 0.0 if np.isnan(spread) else spread  # of one seed nothing is known of it
                cells[one] += 1
                if ours["accuracy"] < best["accuracy"] - spread:
                    gap, its = 100 * (best["accuracy"] - ours["accuracy"]), "" if method == one else f" over {method}"
                    lost[one].append(f"{name} at {100 * fraction:g} %: {best.name} by {gap:.1f}{its}")
    for one, of in cells.items():
        if of:
            won = of - len(lost[one])
            print(f"\n{one} at or above every single method within the spread in {won} of {of} cells")
            print("\n".join(f"  not: {cell}" for cell in lost[one]))


OURS = [name for name, method in METHODS.items() if method.cleaned]


def markdown(found: pd.DataFrame) -> list[str]:
    """A table of accuracies in % with their deviations, a line a method, the best of each fraction in bold."""
    found = found[found["fraction"] < 1].assign(rank=lambda one: one.groupby("fraction")["accuracy"].rank())
    order = found.groupby("method", observed=True)["rank"].mean().sort_values(ascending=False).index
    mean, spread = (
        100 * found.pivot(index="method", columns="fraction", values=name) for name in ("accuracy", "spread")
    )
    best = mean.round(1) == mean.round(1).max()

    def cell(method: str, fraction: float) -> str:
        if np.isnan(mean.at[method, fraction]):
            return ""
        told = f"{mean.at[method, fraction]:.1f} ± {spread.at[method, fraction]:.1f}"
        return f"**{told}**" if best.at[method, fraction] else told

    lines = [["method", *(f"{100 * one:g} %" for one in mean.columns)], ["---"] * (1 + len(mean.columns))]
    lines += [[method, *(cell(method, one) for one in mean.columns)] for method in order]
    return [f"| {' | '.join(line)} |" for line in lines]


# ------------------------------------------------------------------------------------------------- time and memory


def made_up(samples: int, classes: int, dimensions: int) -> tuple[dict, np.ndarray, Pool]:
    """Scores, labels and a pool of normal noise around class centres."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, samples)
    centres = random.normal(size=(classes, dimensions)).astype(np.float32)
    vectors = random.normal(size=(samples, dimensions)).astype(np.float32)
    vectors += centres[labels]
    scores = {name: random.normal(size=samples) for name in {one.column for one in METHODS.values() if one.column}}
    suspect = np.where(random.random(samples) < 0.05, 0.9, np.nan)
    few = slice(0, min(samples, 10 * classes))
    layer = LastLayer(vectors, labels, vectors[few], labels[few], centres / 4, np.zeros(classes, np.float32))
    return scores, labels, Pool(suspect=suspect, vectors=vectors, layer=layer)


def selectors(options) -> None:
    """Each in a process of its own: seconds, and peak memory beyond the inputs."""
    if options.one:
        data = made_up(options.samples, options.classes, options.dimensions)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        chosen = select(options.one, data[0], data[1], fraction=options.fraction, pool=data[2])
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{options.one:22} {seconds:10.2f} {(peak - before) / 2**20:12.2f} {len(chosen.index):12,}", flush=True)
        return
    print(
        f"{options.samples:,} samples, {options.classes:,} classes, {options.dimensions} dimensions, one process each"
    )
    print(f"{'selector':22} {'seconds':>10} {'extra GiB':>12} {'chosen':>12}", flush=True)
    for name in options.methods or METHODS:
        words = [sys.executable, __file__, "selectors", "--one", name]
        for option in ("samples", "classes", "dimensions", "fraction"):
            words += [f"--{option}", str(getattr(options, option))]
        try:
            done = subprocess.run(words, timeout=options.seconds)
            if done.returncode:
                print(f"{name:22} failed with status {done.returncode}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{name:22} not done after {options.seconds} s", flush=True)


def peer(options) -> None:
    """Facility location beside apricot's lazy greedy, which is compiled before it is timed; Euclidean both."""
    from apricot import FacilityLocationSelection
    from sklearn.metrics import pairwise_distances_argmin_min

    vectors = np.abs(np.random.default_rng(0).normal(size=(options.samples, options.dimensions))).astype(np.float32)
    theirs = FacilityLocationSelection(options.count, metric="euclidean", optimizer="lazy")
    theirs.fit(vectors)

    def timed(call):
        began = time.perf_counter()
        return call(), time.perf_counter() - began

    (mine, _), ours = timed(lambda: facility_location(vectors, options.count))
    fitted, beside = timed(lambda: theirs.fit(vectors))
    total = [float(pairwise_distances_argmin_min(vectors, vectors[one])[1].sum()) for one in (mine, fitted.ranking)]
    print(
        f"{options.count:,} of {options.samples:,} x {options.dimensions}: ours {ours:.2f} s, apricot {beside:.2f} s, "
    )
    print(f"ratio {beside / ours:.2f}; sum of distances to the nearest chosen: {total[0]:.1f} and {total[1]:.1f}")


def precision(options) -> None:
    """Whole trainings on made-up images of two classes, one after the other, and again the other way round."""
    random = np.random.default_rng(0)
    labels = np.arange(options.batch * 4) % 2
    pixels = random.integers(0, 128, (len(labels), options.size, options.size, 3), dtype=np.uint8)
    pixels += (labels * 100).astype(np.uint8)[:, None, None, None]
    split, centre = np.full(len(labels), "train"), np.full(3, 0.5)
    inputs = Inputs(np.arange(len(labels)), labels, split, pixels, options.size, centre, centre / 2, 2)
    seconds = {"float32": [], "bfloat16": []}
    for name in (*seconds, *reversed(seconds)):
        for steps in (2, options.steps):  # the first ones also choose kernels
            began = time.perf_counter()
            recipe = Recipe(batch=options.batch, statistics=options.batch)
            how = {"model": options.model, "recipe": recipe, "steps": steps, "seed": 0, "device": options.device}
            with tqdm(disable=True) as bar:
                train.fit(inputs, np.arange(len(labels)), bar=bar, precision=name, **how)
        seconds[name].append((time.perf_counter() - began) / options.steps)
    told = {name: min(found) for name, found in seconds.items()}
    print(f"{options.model}, {options.size} px, batches of {options.batch}, ms a step: ", end="")
    print(", ".join(f"{name} {1000 * found:.1f}" for name, found in told.items()), end=", ")
    print(f"ratio {told['float32'] / told['bfloat16']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name in ("fashion", "pack"):
        one = kinds.add_parser(name)
        one.add_argument("source", type=Path)
        one.add_argument("--work", type=Path, required=True)
        one.add_argument("--epochs", type=int, default=10, help="of the audit")
        one.add_argument("--curvature-checkpoints", type=int, default=3)
        one.add_argument("--model", help="of the audit; default: small")
        one.add_argument("--train-model", help="of the evaluation; default: that of the audit")
        one.add_argument("--methods", nargs="+", choices=list(METHODS), help="default: all")
        one.add_argument("--fractions", nargs="+", type=float, default=list(FRACTIONS))
        one.add_argument("--seeds", type=int, default=3)
        one.add_argument("--steps", type=int, default=500)
        one.add_argument("--device", default="auto")
        one.add_argument("--precision", help="of the evaluation's forward passes; default: float32 on a CPU")
        if name == "fashion":
            one.add_argument("--noise", nargs="+", type=int, default=[0, 20, 40])
            one.add_argument("--train", type=int, default=60_000)
            one.add_argument("--val", type=int, default=5_000)
        one.set_defaults(call=run_fashion if name == "fashion" else run_pack)
    for name, call in (("half", halved), ("claims", claims), ("table", table)):
        one = kinds.add_parser(name)
        one.add_argument("work", type=Path)
        one.set_defaults(call=call)
        if name == "half":
            one.add_argument("--fractions", nargs="+", type=float, default=[0.1, 0.3])
            one.add_argument("--seeds", type=int, default=3)
            one.add_argument("--steps", type=int, default=500)
            one.add_argument("--precision")
        if name != "half":
            one.add_argument("--steps", type=int, help="default: those that most was measured with")
        if name == "table":
            one.add_argument("--best", nargs="+", default=["recommended", coresets.MEASURED])
            one.add_argument("--markdown", action="store_true")
    one = kinds.add_parser("peer", help="needs pip install apricot-select scikit-learn")
    one.add_argument("--samples", type=int, default=6_000)
    one.add_argument("--dimensions", type=int, default=128)
    one.add_argument("--count", type=int, default=600)
    one.set_defaults(call=peer)
    one = kinds.add_parser("precision")
    one.add_argument("--model", default="small")
    one.add_argument("--size", type=int, default=28)
    one.add_argument("--batch", type=int, default=64)
    one.add_argument("--steps", type=int, default=100)
    one.add_argument("--device", default="cpu")
    one.set_defaults(call=precision)
    one = kinds.add_parser("selectors")
    one.add_argument("--samples", type=int, default=60_000)
    one.add_argument("--classes", type=int, default=10)
    one.add_argument("--dimensions", type=int, default=128)
    one.add_argument("--fraction", type=float, default=0.1)
    one.add_argument("--methods", nargs="+", choices=list(METHODS))
    one.add_argument("--seconds", type=int, default=600, help="after which one is given up")
    one.add_argument("--one", help=argparse.SUPPRESS)
    one.set_defaults(call=selectors)
    options = parser.parse_args()
    options.call(options)


def run_fashion(options) -> None:
    for noise in options.noise:
        folder = options.work / "fashion"
        manifest = folder / f"labels-{noise}.csv"
        if not manifest.exists():
            make_fashion(options.source, folder, noise, options.train, options.val)
        measure(f"fashion-{noise}", manifest, folder / "truth.csv", options)


def run_pack(options) -> None:
    measure(options.source.name, options.source / "labels.csv", options.source / "truth.csv", options)


if __name__ == "__main__":
    main()
