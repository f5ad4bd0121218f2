"""What the page Coreset says: which methods a run can use, what was measured of them, how a subset is used in code.

Knows no Streamlit.
"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossprint.app.data import Loaded
from lossprint.audit.coresets.coreset import Ask, ask_of
from lossprint.audit.coresets.evaluated import CELL, by_seed, cells, ranked
from lossprint.audit.coresets.files import untouched
from lossprint.audit.export import outfile
from lossprint.audit.scores import SCORES
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import LossprintError
from lossprint.scoring.coresets import methods
from lossprint.scoring.coresets.methods import METHODS

KINDS = (
    "Recommended",
    "By chance",
    "After cleaning",
    "Covers the samples",
    "By gradients of the last layer",
    "By a score",
)
PER_CENT = {"accuracy": "Accuracy", "worst": "Accuracy of the worst class", "noisy": "Wrong labels kept"}
SPREADS = {"accuracy": "spread", "worst": "worst_spread", "noisy": "noisy_spread"}
SEEDS, LEAST, EXPOSED = 9999, 100_000, 50  # the largest that the page's controls take
MOST = 5  # other methods that are drawn where nobody chose any


# ------------------------------------------------------------------------------------------------- methods


def kind(name: str) -> str:
    """Which of KINDS a method belongs to."""
    about = METHODS[name]
    if name == "recommended":
        return KINDS[0]
    if about.cleaned:
        return KINDS[2]
    if name.startswith("random"):
        return KINDS[1]
    if about.needs == "last layer":
        return KINDS[4]
    return KINDS[3] if about.needs == "embeddings" else KINDS[5]


def ordered() -> list[str]:
    """All methods: those worth choosing first, then the others, those of a kind together."""
    others = [name for name in METHODS if name not in methods.FIRST]
    return [*methods.FIRST, *sorted(others, key=lambda name: KINDS.index(kind(name)))]


def order_in_words(names: list[str]) -> str:
    """How `names`, ordered, are ordered."""
    first = sum(name in methods.FIRST for name in names)
    return f"The first {first} did best where all {len(METHODS)} were measured; the others follow by kind."


def lacking(loaded: Loaded, name: str) -> str:
    """What a run lacks for a method, in words, empty where nothing; told from what is there, without reading it."""
    about, run = METHODS[name], loaded.run
    if about.column is not None and not loaded.has(about.column):
        return f"the score {SCORES[about.column].title if about.column in SCORES else about.column}"
    if not about.needs:
        return ""
    if not (run.path / "embeddings.safetensors").exists():
        return "embeddings of a trained model"
    layered = "model" in run.manifest["asked"] and "record" in run.manifest["facts"] and run.saved_checkpoints()
    layered = layered and not run.members("view")
    return "" if about.needs == "embeddings" or layered else "the last layer of a trained model"


def advice() -> list[tuple[str, str, str]]:
    """(when, choose, why), methods by their titles."""
    return [(when, METHODS[choose].title, why) for when, choose, why in methods.ADVICE]


def file_name(ask: Ask, percent: int) -> str:
    return f"coreset-{ask.method}-{percent}pct-seed{ask.seed}.csv"


def suggested_name(ask: Ask, percent: int) -> str:
    """What to save a subset as: other options give another name."""
    parts = [ask.method, f"{percent}pct", f"seed{ask.seed}"]
    parts += ["equal"] * ask.equal + [f"min{ask.at_least}"] * (ask.at_least != 1) + ["notwins"] * ask.one_of_duplicates
    parts += [f"unexposed{100 * ask.without_exposed:g}"] * bool(ask.without_exposed)
    return "-".join(parts)


def kept_record(loaded: Loaded, name: str, _stamp: tuple) -> tuple[dict, Ask | None]:
    """The record of a saved subset, and what it was asked for by; None where what it was is not certain any more."""
    path = loaded.run.selection_path(name)
    try:
        record = outfile.read_record(path) or {}
        return record, ask_of(record) if untouched(path, record) else None
    except (LossprintError, OSError):
        return {}, None


# ------------------------------------------------------------------------------------------------- what was measured


@dataclass(frozen=True, eq=False)
class Measured:
    """cells: a row for each model, steps, options, split, method and fraction, see `evaluate.cells`, with the spreads
    of the worst class and of the share of wrong labels. seeds: a row a seed of each, accuracy, worst, noisy. outdated:
    trainings that rest on earlier decisions, which are not among them.
    """

    cells: pd.DataFrame
    seeds: pd.DataFrame
    outdated: int


def measured(loaded: Loaded, _stamp: int | None) -> Measured | None:
    """What was measured by now, None where nothing; worked out anew whenever its file is another one."""
    table = loaded.run.evaluation()
    if table is None or table.empty:
        return None
    old = np.zeros(len(table), bool) if "outdated" not in table else table["outdated"].to_numpy(bool)
    outdated = len(table[old].drop_duplicates([*CELL, "seed"]).drop_duplicates("key"))
    table = table[~old]
    found = cells(table)
    runs = by_seed(table)
    worst = table.merge(found[[*CELL, "worst_label"]], on=CELL)
    worst = worst[worst["label"].astype(object) == worst["worst_label"].astype(object)].set_index([*CELL, "seed"])
    runs["worst"] = (worst["right"] / worst["of"]).reindex(runs.index)
    seeds = runs[["accuracy", "worst", "noisy"]].reset_index()
    spread = seeds.groupby(CELL, observed=True)[["worst", "noisy"]].std().add_suffix("_spread").reset_index()
    found = found.merge(spread, on=CELL)
    names = ["model", "options", "split", "method"]
    texts = dict.fromkeys(names, object)
    return Measured(found.astype(texts), seeds.astype(texts), outdated)


def ways(found: pd.DataFrame) -> list[tuple[str, int, str]]:
    """(model, steps, options) that subsets were trained with, the one with most cells first."""
    return [tuple(way) for way in found.value_counts(["model", "steps", "options"], sort=True).index]


def options_in_words(options: str) -> str:
    """`equal` and the like as an evaluation notes them (JSON), in words; empty for none."""
    given = parsed(options) if options else {}
    least = given.get("at_least", 1)
    words = ["the same number of each class"] * bool(given.get("equal"))
    words += [f"at least {least} of each class"] * (least != 1)
    words += ["never both of a duplicate pair"] * bool(given.get("one_of_duplicates"))
    if exposed := given.get("without_exposed"):
        words.append(f"without the {100 * exposed:g} % most exposed")
    return ", ".join(words)


def way_in_words(way: tuple[str, int, str]) -> str:
    model, steps, options = way
    return f"{model}, {steps:,} steps" + (f", {options_in_words(options)}" if options else "")


def per_cent(fraction: float) -> str:
    return f"{100 * fraction:.6g} %"


def nearest(fractions, wanted: float) -> float | None:
    """The fraction nearest to the wanted one, the smaller of two that are equally near."""
    return min(sorted(fractions), key=lambda one: round(abs(one - wanted), 9), default=None)


def place(found: pd.DataFrame, method: str, wanted: float) -> float | None:
    """At which measured fraction methods are compared: the method's nearest, else the nearest of all."""
    mine = found.loc[found["method"] == method, "fraction"]
    return nearest((mine if len(mine) else found["fraction"]).unique(), wanted)


def whole(found: pd.DataFrame) -> pd.Series | None:
    """The cell of all samples, by chance where that was trained; None where none was."""
    rows = found[found["fraction"] == 1.0]
    if rows.empty:
        return None
    return rows.loc[rows["method"].eq("random").idxmax()]


def others(found: pd.DataFrame, method: str) -> list[str]:
    """The measured methods beside the chosen one, chance and the recommended one, best first."""
    rest = found[~found["method"].isin([method, "random", "recommended"]) & (found["fraction"] < 1)]
    return rest.groupby("method")["accuracy"].mean().sort_values(ascending=False, kind="stable").index.tolist()


def in_a_sentence(method: str) -> str:
    """A method's title within a sentence, where commas part one from the next."""
    title = METHODS[method].title
    if title[1].islower():  # no abbreviation, such as CLD
        title = title[0].lower() + title[1:]
    return f"{title.replace(', ', ' (', 1)})" if ", " in title else title


def to_choose(found: pd.DataFrame, way: tuple[str, int, str], at: float | None, method: str) -> str | None:
    """The best on validation images at a measured fraction, `method` where none was better; None where none tell."""
    rows = found[(found[CELL[:3]] == list(way)).all(axis=1)]
    best = pd.Series() if at is None else ranked(rows, at)
    return None if best.empty else method if best.get(method) == best.iloc[0] else best.index[0]


def sentences(
    found: pd.DataFrame, method: str, wanted: float, judged: str, pick: str | None = None, on: str = "these"
) -> list[str]:
    """What was measured of a method near a fraction, in plain words. found: cells of one split and way of training.

    pick: what is `to_choose`, where these cells are of another split than it was chosen on; `on` names theirs.
    """
    title, at = in_a_sentence(method), place(found, method, wanted)
    here = found[found["fraction"] == at].set_index("method")
    said = []
    if method not in set(found["method"]):
        said.append(f"{title[0].upper()}{title[1:]} was not measured.")
    elif not np.isclose(at, wanted):
        elsewhere = np.isclose(found["fraction"].unique(), wanted).any()
        told = f"{per_cent(wanted)} was not measured" + (f" with {title}" if elsewhere else "")
        said.append(f"{told}: the nearest that was is {per_cent(at)}.")
    if at == 1.0:
        clauses = [("all samples", here.loc[method] if method in here.index else whole(found))]
    else:
        names = dict.fromkeys(one for one in (method, "random", "recommended") if one in here.index)
        clauses = [(in_a_sentence(one), here.loc[one]) for one in names]
        clauses += [("all samples", whole(found))] if clauses and whole(found) is not None else []
    if not clauses:
        return said
    (name, cell), *rest = clauses
    told = f"{name}{' reached' if judged == 'accuracy' else ''} {_value(cell, judged, True)}"
    told = ", ".join([told, *(f"{one} {_value(other, judged)}" for one, other in rest)])
    said.append(f"At {per_cent(at)}, {LEAD[judged]}{told}.")
    if judged == "accuracy" and at < 1.0 and method in here.index and len(here) > 2:
        said.append(_best(here, method) if pick not in here.index else _picked(here, method, pick, on))
    return said


def _best(here: pd.DataFrame, method: str) -> str:
    """Which method was the best at a fraction, and whether that is more than chance; cells indexed by method."""
    best = here["accuracy"].idxmax()
    if here.at[method, "accuracy"] == here.at[best, "accuracy"]:  # such as `recommended` beside what it comes to
        return f"None of the {len(here)} methods measured there did better."
    title = in_a_sentence(best)
    return f"The best of the {len(here)} methods measured there is {title}, {_ahead(here, best, method)}."


def _picked(here: pd.DataFrame, method: str, pick: str, on: str) -> str:
    """Which method did best on the validation images, and how it does on those that are looked at."""
    if pick == method:
        return f"None of the {len(here)} methods measured there did better on the validation images."
    return (
        f"Of the {len(here)} methods measured there, {in_a_sentence(pick)} did best on the validation images: on "
        f"{on} images it is {_ahead(here, pick, method)}."
    )


def _ahead(here: pd.DataFrame, one: str, other: str) -> str:
    """How far one method is ahead of another or behind it, and whether that may be chance."""
    gap, both = here.at[one, "accuracy"] - here.at[other, "accuracy"], here.loc[[one, other]]
    spread = np.sqrt((both["spread"] ** 2 / both["seeds"]).sum(skipna=False))  # of a difference of two means
    sure = "" if not spread >= abs(gap) else ", which is within the spread"
    return f"{100 * abs(gap):.1f} points {'ahead' if gap >= 0 else 'behind'}{sure}"


LEAD = {"accuracy": "", "worst": "in the worst class: ", "noisy": "wrong labels among those kept: "}


def _value(cell: pd.Series, judged: str, whole_story: bool = False) -> str:
    spread = 100 * cell[SPREADS[judged]]
    notes = [f"± {spread:.1f}"] if whole_story and not np.isnan(spread) else []
    notes += [str(cell["worst_label"])] if judged == "worst" else []
    notes += [f"{cell['seeds']} seed{'s' if cell['seeds'] != 1 else ''}"] if whole_story else []
    return f"{100 * cell[judged]:.1f} %" + (f" ({', '.join(notes)})" if notes else "")


def table(found: pd.DataFrame) -> pd.DataFrame:
    """All measured cells to read, in per cent, the smallest fraction first, within one the best first."""
    rows = found.sort_values(["fraction", "accuracy"], ascending=[True, False], kind="stable")
    shown = pd.DataFrame(
        {
            "kept": 100 * rows["fraction"],
            "method": [METHODS[one].title if one in METHODS else one for one in rows["method"]],
            **{name: 100 * rows[name] for name in ("accuracy", "spread", "over_random", "over_spread", "worst")},
            "worst_label": rows["worst_label"].astype(str),
            "noisy": 100 * rows["noisy"],
            "seeds": rows["seeds"],
            "samples": rows["train_samples"],
        }
    )
    return shown.reset_index(drop=True)


def shared(overlap: pd.DataFrame | None, method: str, at: float | None, options: str) -> pd.DataFrame:
    """What the subset of a method has in common with the others at a measured fraction: method, shared in per cent."""
    if overlap is None or at is None:
        return pd.DataFrame({"method": [], "shared": []})
    if "options" in overlap:
        overlap = overlap[overlap["options"] == options]
    mine = overlap[(overlap["first"] == method) & (overlap["second"] != method) & np.isclose(overlap["fraction"], at)]
    mine = mine.sort_values("shared", ascending=False, kind="stable")
    titles = [METHODS[one].title if one in METHODS else one for one in mine["second"]]
    return pd.DataFrame({"method": titles, "shared": 100 * mine["shared"].to_numpy()})


def command(
    loaded: Loaded, ask: Ask, fractions: list[float], seeds: int = 3, way: tuple[str, int, str] | None = None
) -> list[str]:
    """What measures a method beside chance and the recommended one: the words after `lossprint`."""
    names = ["random", ask.method, "recommended"]
    words = ["coreset", "evaluate", str(loaded.run.path.resolve())]
    words += ["--methods", *dict.fromkeys(names)]
    words += ["--fractions", *(f"{one:.6g}" for one in sorted(set(fractions)))]
    words += ["--seeds", str(seeds)]
    if way is not None:
        words += ["--model", way[0]] * (way[0] != loaded.run.manifest["asked"].get("model"))
        words += ["--steps", str(way[1])]
    return words + ask.flags


# ------------------------------------------------------------------------------------------------- in code

READ = """with open({file}, newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
"""
PATHS = {
    "folder": """# `dataset`: a torchvision ImageFolder of the audited folder, or of a part of it
root = Path({root}).resolve()
paths = [Path(file).resolve().relative_to(root).as_posix() for file, _ in dataset.samples]
""",
    "manifest": """# `dataset`: your own; `paths`: the file of each of its items, as the manifest writes it
paths = dataset.paths
""",
    "torchvision": """# `dataset`: the training split of {name}
paths = [f"train/{{number:06d}}" for number in range(len(dataset))]
""",
    "huggingface": """# `dataset`: what the library datasets loads as the training split of {name}
paths = [f"train/{{number:06d}}" for number in range(len(dataset))]
""",
    "webdataset": """# `dataset`: your own; `paths`: SHARD/MEMBER of the image of each of its items
paths = dataset.paths
""",
}
TEXT_PATHS = """# `dataset`: your own; `paths`: the id of each of its texts, in a file without ids row/000000 and so on
paths = dataset.paths
"""
TEXTS = """read = text_reader({source})
texts = [(read(row["path"]), row["label"]) for row in rows]
"""
SUBSET = """wanted = {row["path"] for row in rows}
train = Subset(dataset, [number for number, path in enumerate(paths) if path in wanted])
assert len(train) == len(rows), "not every sample of the file is in the dataset"
"""
FILES = """root = Path({root})
files = [(root / row["path"], row["label"]) for row in rows]
"""
NUMBERS = """# the numbers of the images in the training split of {name}, each with its label
files = [(int(row["path"].split("/")[1]), row["label"]) for row in rows]
"""
MEMBERS = """# SHARD/MEMBER of each image below {root}, with its label
files = [(row["path"], row["label"]) for row in rows]
"""
EACH_ONCE = """weight_of = {row["path"]: 1.0 for row in rows}
weights = torch.tensor([weight_of.get(path, 0.0) for path in paths])
# each sample of the coreset once an epoch, in another order every time
sampler = WeightedRandomSampler(weights, num_samples=len(rows), replacement=False)
loader = DataLoader(dataset, batch_size=128, sampler=sampler)
"""
WEIGHTED = """weight_of = {row["path"]: float(row["score"]) for row in rows}
weights = torch.tensor([weight_of.get(path, 0.0) for path in paths])
# each sample as often as the method's weights say
sampler = WeightedRandomSampler(weights, num_samples=len(rows), replacement=True)
loader = DataLoader(dataset, batch_size=128, sampler=sampler)
"""


def snippets(loaded: Loaded, frame: pd.DataFrame, ask: Ask, file: str) -> dict[str, str]:
    """Three ways to use the CSV, by title; each runs as it is, the first and the last with the audited `dataset`."""
    about = loaded.run.manifest["dataset"]
    what = about.get("kind") if about.get("kind") in PATHS else "manifest"
    words = {"file": json.dumps(file), "root": json.dumps(str(about.get("root") or ""), ensure_ascii=False), "name": ""}
    words["source"] = json.dumps(str(about.get("source") or ""), ensure_ascii=False)
    if what == "torchvision":
        words["name"] = f"torchvision's {str(about.get('source')).split(':')[1]}"
    elif what == "huggingface":
        words["name"] = str(about.get("source"))
    read, paths = READ.format(**words), PATHS[what].format(**words)
    texts = loaded.noun == "text"
    if texts:
        paths = TEXT_PATHS
    path = "from pathlib import Path"

    def code(imports: list[str], *body: str) -> str:
        plain = ["import csv", *(one for one in imports if one == path)]
        other = [one for one in imports if one != path]
        blocks = ["\n".join(block) for block in (plain, sorted(other, key=lambda one: one.split()[1])) if block]
        return "\n\n".join(one.rstrip("\n") for one in (*blocks, *body)) + "\n"

    of_folder = [path] if what == "folder" else []
    listed = {"torchvision": NUMBERS, "huggingface": NUMBERS, "webdataset": MEMBERS}.get(what, FILES)
    files = code([path] if listed is FILES else [], read, listed.format(**words))
    if texts:
        files = code(["from lossprint.audit.datasets.dataset import text_reader"], read, TEXTS.format(**words))
    weighted = WEIGHTED if ask.method == "grad_match" else EACH_ONCE
    with_torch = ["import torch", "from torch.utils.data import DataLoader, WeightedRandomSampler"]
    return {
        "PyTorch Subset": code([*of_folder, "from torch.utils.data import Subset"], read, paths + SUBSET),
        f"List of {'texts' if texts else 'paths'}": files,
        "Sampler with weights": code([*of_folder, *with_torch], read, paths + weighted),
    }
