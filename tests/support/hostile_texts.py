"""Further hostile inputs by kind: names, markup, formulas, a million classes."""

import csv
import html.parser
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from fuzz_programs import assert_known, command
from fuzz_targets import assert_one_line, refused
from helpers import make_run
from hostile import Case, must_refuse
from PIL import Image

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets import dataset as datasets
from lossprint.audit.datasets import source as sources
from lossprint.audit.datasets.choices import Choices
from lossprint.audit.datasets.fit import refuse_unfit
from lossprint.audit.datasets.images import reason
from lossprint.audit.report import write as report
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.system.csvfile import BOM, csv_text, unguard

# ------------------------------------------------------------------------------------------------ names

LONG = "n" * 4096
NAMES = {
    "control characters": "a\x00b\x01\x1b[31m\x7f\x9b",
    "line breaks": "a\r\nb\n\n=c\u2028\u2029\x85",
    "marks that turn the text": "\u202eevil\u202c\u2066x\u2069\u200f\u200e",
    "4,096 characters": LONG,
    "4,096 characters of four bytes": "\U0001f600" * 4096,
    "combining marks": "a" + "\u0300" * 500,
    "blanks": " \u00a0\u3000\u200b",
    "markup": "<img src=x onerror=alert(1)>](javascript:x) $x$ :red[y]",
}


def named(name: str) -> Case:
    """As label, path, sequence, reviewer and comment: dataset, messages, exports and report."""

    def case(folder: Path) -> None:
        label = name.replace("\0", "") if name.strip() else f"{name}x"
        run = make_run(folder / "made", classes=(label, "plain"), train=6, held_out=3, frames=True)
        with open_reviews(run) as kept:
            told = {"decision": "relabel", "new_label": label, "reviewer": name.strip()[:200] or "x", "comment": name}
            refused(lambda: kept.add(finding="label_error:2", sample=2, **told))
        content = report.report_bytes(run).decode()
        assert "\u202e" not in content and "<img src=x" not in content and "\x1b" not in content
        for what, place in exports(run, folder / "out"):
            status, said = command(["export", *what, str(run.path), "--out", str(place)])
            assert_known(status, said)
        shown, said = command(["reviews", "status", str(run.path)])
        assert_known(shown, said)
        rows = pd.DataFrame({"path": [name, "x.png"], "label": [label, "b"]})
        (folder / "labels.csv").write_bytes(csv_text(rows).encode())
        for at in (str(folder / "labels.csv"), name, f"hf:{name}", f"torchvision:{name}:{name}", f"s3x://{name}"):
            refused(lambda at=at: datasets.open_dataset(at.replace("\0", "") or "x", check=False))
        status, said = command(["report", str(folder / "made" / name.replace("\0", "")), "--out", "x.html"])
        assert status == 2
        assert_one_line(said.strip("\n"))

    return case


# ------------------------------------------------------------------------------------------------ markup, formulas

MARKUP = (
    "<script>window.__planted=1</script>", "<img src=x onerror=window.__planted=1>", "</style></title><svg onload=x>",
    "<a href='javascript:x'>y</a>", "[y](javascript:window.__planted=1)", "![i](http://evil.invalid/i.png)", "$x^2$",
    ":material/delete:", ":red[z]", "`c`", "# h", "<!-- ", "]]>", "&lt;b&gt;", "\"'><b>", "{{7*7}}", "${7*7}",
    "<iframe src=//x>", "<math><mtext></mtext></math>",
)  # fmt: skip


class Tags(html.parser.HTMLParser):
    """The tags of a page and their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def reported(text: str) -> Case:
    """As label, comment, reviewer and note of a run: the report has no tag that it would not have without."""

    def case(folder: Path) -> None:
        pages = []
        for name in ("plain", text):
            run = make_run(folder / str(len(pages)), classes=(f"a {name}", f"b {name}"), train=6, held_out=3)
            dataset = {**run.manifest["dataset"], "notes": [name]}
            run = Run(run.path, {**run.manifest, "dataset": dataset, "lossprint": name})
            with open_reviews(run) as kept:
                said = {"decision": "relabel", "new_label": run.classes[0], "reviewer": name, "comment": name}
                kept.add(finding="label_error:1", sample=1, **said)
            pages.append(Tags(report.report_bytes(run).decode()))
        plain, other = pages
        assert [tag for tag, _ in plain.tags] == [tag for tag, _ in other.tags]
        assert [sorted(attrs) for _, attrs in plain.tags] == [sorted(attrs) for _, attrs in other.tags]
        assert " ".join(text.split()) in " ".join(other.text.split())

    return case


FORMULAS = (
    "=1+1",
    "+1",
    "-1+1",
    "@sum(a1)",
    "\t=1",
    "\r=1",
    " =1",
    "＝1",
    "'=1",
    '=cmd|" /C x"!a1',
    '=HYPERLINK("http://x")',
)
STARTS = tuple("=+-@\t\r\n＝＋－＠")
NUMBER_COLUMNS = {"severity", "score", "cld", "label_quality", "start", "end"}


def exports(run: Run, folder: Path) -> list[tuple[list[str], Path]]:
    """(arguments, file) of each `lossprint export` that there is, by the program itself: a new one is tried as well."""
    folder.mkdir(exist_ok=True)
    known = {"labelstudio": ".json", "coco": ".json", "huggingface": ""}
    more = {
        "coreset": ["--method", "random", "--fraction", "0.9", "--manifest", str(run.path.parent / "data" / "core.csv")]
    }
    names = cli.program.commands["export"].commands
    assert {"cleaned", "coreset", "findings", "manifest", "changes", "cleanlab", "segments"} <= set(names)
    return [([name, *more.get(name, [])], folder / f"{name}{known.get(name, '.csv')}") for name in names]


def formula(text: str) -> Case:
    """As label, path, sequence, reviewer and comment: no cell of any CSV for a spreadsheet starts as a formula does."""

    def case(folder: Path) -> None:
        run = make_run(folder / "made", classes=(f"{text}a", f"{text}b"), train=6, held_out=3, frames=True)
        samples = run.samples()
        samples["sequence"] = text + samples["sequence"]
        data = run.path.parent / "data"
        for at in (0, 1, 2, 8):
            named = f"{text.replace('/', '_')}{at}.png"
            (data / samples.loc[at, "path"]).rename(data / named)
            samples.loc[at, "path"] = named
        run.write_samples(samples, run.unreadable())
        (data / "labels.csv").write_bytes(csv_text(samples[["path", "label", "split", "sequence", "frame"]]).encode())
        with open_reviews(run) as kept:
            for sample, decision in ((1, "relabel"), (4, "exclude"), (5, "keep")):
                other = next(one for one in run.classes if one != samples.loc[sample, "label"])
                new = other if decision == "relabel" else None
                said = {"decision": decision, "reviewer": f"{text}r", "comment": text, "new_label": new}
                kept.add(finding=f"label_error:{sample}", sample=sample, **said)
        seen = []
        for what, place in exports(run, folder / "out"):
            safe = ["--for-excel"] * (what[0] not in ("labelstudio", "manifest", "coco", "huggingface"))
            status, told = command(["export", *what, *safe, str(run.path), "--out", str(place)])
            assert status == 0, (what, told)
        for place in folder.glob("out/*.csv"):
            if place.name == "manifest.csv":  # the dataset's own, as it is
                continue
            assert place.read_bytes().startswith(BOM.encode()), place
            with open(place, encoding="utf-8-sig", newline="") as file:
                rows = list(csv.reader(file, strict=True))
            for row in rows:
                for name, cell in zip(rows[0], row):
                    numeric = name in NUMBER_COLUMNS and cell != name and is_number(cell)
                    assert numeric or not cell.lstrip(" \0\u00a0").startswith(STARTS), (place.name, name, cell)
                    seen += [cell] if text in unguard(cell) else []
        assert len(seen) > 20

    return case


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------------------------------------ many classes


def many_labels(count: int, folder: Path) -> None:
    """A manifest in which each row has a label of its own; none of the files is there but two."""
    path = folder / "labels.csv"
    for name in ("a", "b"):
        Image.new("RGB", (4, 4)).save(folder / f"{name}.png")
    with open(path, "w") as file:
        file.write("path,label\na.png,0\nb.png,1\n")
        file.writelines(f"{at}.png,label {at}\n" for at in range(count))
    began = time.process_time()
    must_refuse(lambda: datasets.open_dataset(path, check=False))
    assert time.process_time() - began < 60


def too_many_classes(folder: Path) -> None:
    """More classes than a network has outputs for, though each has two samples."""
    rows = sources.tabulate(
        [f"{at}" for at in range(600_000)], [f"{at // 2}" for at in range(600_000)], ["train"] * 600_000
    )
    must_refuse(lambda: refuse_unfit(rows, "a manifest", "classes", 1))


def ten_thousand_classes(folder: Path) -> None:
    """As many are opened, split and noted within seconds."""
    count = 10_000
    labels = np.repeat([f"class {at}" for at in range(count)], 3)
    rows = sources.tabulate([f"{at}.png" for at in range(3 * count)], labels.tolist(), ["train"] * (3 * count))
    origin = sources.Source("made", "manifest", folder, rows, "mark", reason, reason)
    began = time.process_time()
    found = datasets._assemble(origin, {}, 0.1, 0, "classes", Choices(), checked=False)
    assert len(found.classes) == count and (found.samples["split"] == "val").sum() == count
    assert time.process_time() - began < 20


CLASSES: dict[str, Case] = {
    "a million labels of one row": partial(many_labels, 1_000_000),
    "100,000 labels of one row": partial(many_labels, 100_000),
    "300,000 classes of two samples": too_many_classes,
    "10,000 classes are opened": ten_thousand_classes,
}
