"""What the options of the command line may be, and those that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click import Choice

from lossprint.audit.system.urls import local
from lossprint.audit.types import LossprintError

DATASET = (
    "a folder of class folders, a CSV or Parquet manifest (path,label[,split][,sequence,frame]), "
    "a COCO file (.json), WebDataset shards (a .tar, a quoted pattern such as 'shards-{000..009}.tar' or a folder of "
    "them), hf:PLACE[:KEY=VALUE] (a dataset of Hugging Face, saved or on the hub), "
    "torchvision:NAME:ROOT or, for audit, a CSV of segments of the videos beside it (sequence,start,end,label[,split])"
)
MODEL = (
    "auto (the default, by what is at hand), small, a torchvision classifier to train, such as resnet18, frozen:NAME: "
    "pretrained features of one, or of a function of yours, MODULE:FUNCTION; or both views, small+frozen:NAME"
)
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
NEAR_SIMILARITY = (
    "how alike near duplicates are: what one leaves of the other is at most 1 - S of what other look-alikes of this "
    "dataset leave; default: 0.82 to 0.955, by size and kind of change"
)
RULE = "whose decisions hold: latest (the default), majority, settled, adjudicated or reviewer:NAME"

# ------------------------------------------------------------------------------------------------- kinds of value


class Checked(click.ParamType):
    """What `read` makes of the text, if that is no ValueError and `fits`; else `words` say what was expected."""

    def __init__(self, words: str, read: Callable[[str], Any], fits: Callable[[Any], bool] = lambda value: True):
        self.name, self.words, self.read, self.fits = words, words, read, fits

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return param.name.upper()

    def convert(self, value, param, ctx):
        if not isinstance(value, str):  # a default
            return value
        try:
            read = self.read(value)
            if self.fits(read):
                return read
        except ValueError:
            pass
        self.fail(f"expected {self.words}, found {value!r}", param, ctx)


def _whole(text: str) -> int:
    if not text.isdigit():  # int reads "-1", " 1" and "1_000" as well
        raise ValueError
    return int(text)


def _channels(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if len(values) not in (1, 3) or not all(value <= 1 for value in values):
        raise ValueError
    return values * 3 if len(values) == 1 else values


def _samples(text: str) -> tuple[int, ...]:
    return tuple(_whole(part.strip()) for part in text.split(","))


natural = Checked("a whole number of 0 or more", _whole)
positive = Checked("a whole number of 1 or more", _whole, lambda number: number >= 1)
folds = Checked("2 folds or more, or 0 for none", _whole, lambda number: number != 1)
seed = Checked(f"a whole number from 0 to {2**32 - 1}", _whole, lambda number: number < 2**32)
number = Checked("a number", float)
fraction = Checked("a number between 0 and 1", float, lambda value: 0 < value < 1)
share = Checked("a number over 0 and up to 1", float, lambda value: 0 < value <= 1)
rate = Checked("frames a second, over 0 and up to 1000", float, lambda value: 0 < value <= 1000)
gigabytes = Checked("gigabytes, a number over 0", float, lambda value: 0 < value < 1e6)
means = Checked("three numbers from 0 to 1, such as 0.485,0.456,0.406", _channels, lambda values: min(values) >= 0)
deviations = Checked("three numbers over 0, such as 0.229,0.224,0.225", _channels, lambda values: min(values) > 0)
samples = Checked("numbers of samples with commas between them, such as 12,815", _samples)
place = Checked("a folder", lambda text: os.path.abspath(os.path.expanduser(text)))
file = click.Path(path_type=Path, readable=False)  # whoever reads it says what is wrong with it


class _Run(click.Path):
    """A RUN on this machine."""

    def convert(self, value, param, ctx):
        try:
            return super().convert(local(value), param, ctx)
        except LossprintError as error:
            self.fail(str(error), param, ctx)


run_folder = _Run(path_type=Path, readable=False)

# ------------------------------------------------------------------------------------------------- shared options


def option(names: str, type: Any, metavar: str | None = None, help: str | None = None, **how) -> Callable:
    """An option: its name, with a second word the name of what it gives."""
    return click.option(*names.split(), type=type, metavar=metavar, help=help, **how)


def flag(names: str, help: str, **how) -> Callable:
    """An option without a value."""
    return click.option(*names.split(), is_flag=True, help=help, **how)


def together(*options: Callable) -> Callable:
    """One decorator that stands for several, in their order."""

    def decorate(call):
        for option in reversed(options):
            call = option(call)
        return call

    return decorate


def out(metavar: str, help: str | None = None, **how) -> Callable:
    """--out, required unless said otherwise."""
    return option("--out", **{"type": file, "metavar": metavar, "help": help, "required": True} | how)


run = click.argument("run", type=run_folder, metavar="RUN")
dataset = option("--dataset", str, "DATASET", DATASET, required=True)
placed = option("--dataset", str, "DATASET", "where its images are, if they were moved or RUN was made elsewhere")
device = option("--device", Choice(DEVICES), None, default="auto")
curvature_checkpoints = option("--curvature-checkpoints", natural, "K", "default: 10; 0 measures none")
val_fraction = option("--val-fraction", fraction, "F", "drawn from train without a val split; 0.1")
resume = flag("--resume", "continue a run that was cut off")
overwrite = flag("--overwrite", "replace a run at --out, if nobody has decided anything on it")
sync = option("--sync", str, "URL", "copy the run there after each finished stage")
quiet = flag("--quiet", "no progress bars")
for_excel = flag("--for-excel", "a CSV for a spreadsheet: no cell is run as a formula")
rule = option("--apply", str, "RULE", RULE, default="latest")
unsure = option("--unsure", Choice(["keep", "drop"]), None, "samples left unsure; default: keep", default="keep")
choices = together(
    option("--min-per-class", positive, "M", "leave out classes with fewer in train and val; default: 2"),
    flag("--allow-lost-classes", "go on without classes of which no image can be read", default=None),
    flag("--follow-links", "read what links name outside DATASET", default=None),
    flag("--normalise-labels", "one class of labels that differ in case, blanks or Unicode form", default=None),
    flag("--allow-truncated", "read images whose end is missing as far as they go", default=None),
    option("--max-pixels", positive, "N", "refuse larger images; default: 89 million pixels"),
    option("--exclude", str, "NAMES", "folders whose files are no samples, such as masks,thumb*"),
    option("--root", place, "DIR", "what the paths of a manifest are relative to; default: its folder"),
    option("--path-column", str, "NAME", "of a manifest; default: path"),
    option("--label-column", str, "NAME", "of a manifest; default: label"),
    option("--group-by", str, "COLUMN", "of a manifest, such as patient: no fold has a part of a group"),
)
constraints = together(
    flag("--equal", "as many of each class, not in proportion to its size", default=None),
    option("--at-least", natural, "M", "of each class; default: 1"),
    flag("--one-of-duplicates", "never both of a duplicate pair", default=None),
    option("--without-exposed", fraction, "F", "never one of this share, the most exposed; see lossprint exposure"),
)
