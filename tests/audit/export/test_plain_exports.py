"""What leaves a run and comes back: names as they are for programs, safe for people, and silence is no answer."""

import csv
import shutil
import unicodedata

import pandas as pd
import pytest
from helpers import make_run, refused

from lossprint.audit.cli import main as cli
from lossprint.audit.coresets import files
from lossprint.audit.datasets.readers.manifests import read_manifest
from lossprint.audit.export import exchange, export
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.system.csvfile import BOM, guard
from lossprint.audit.types import LossprintError

ODD = ("-1", "+x", "=cmd", "@home", "NA", "nan", "None", "007", "1e5", "'", "'-1", "-", "a;=b", "O'Neil")


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("odd"), classes=ODD, train=3, held_out=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"), classes=("chat", "Hündin", "馬"), train=8, held_out=3)


def command(*words) -> int:
    return cli.main([str(word) for word in words])


def rows(path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


# --------------------------------------------------------------------------------------------- for programs


@pytest.mark.parametrize("what", [("cleaned",), ("manifest",), ("coreset", "--method", "random", "--fraction", "0.9")])
def test_names_in_a_file_for_programs_are_as_they_are(odd, tmp_path, what):
    assert command("export", what[0], odd.path, *what[1:], "--out", tmp_path / "out.csv") == 0
    listed = rows(tmp_path / "out.csv")
    assert {row["label"] for row in listed} == set(ODD)
    assert {row["path"] for row in listed} <= set(odd.samples()["path"])
    shown = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)  # as the documentation says
    assert set(shown["label"]) == set(ODD)


@pytest.mark.parametrize("what", ["findings", "changes", "cleanlab"])
def test_lists_of_findings_and_changes_are_too(odd, tmp_path, what):
    odd = shutil.copytree(odd.path, tmp_path / "run")
    with open_reviews(open_run(odd)) as kept:
        for sample, label in ((1, "=cmd"), (4, "-1")):
            kept.add(finding=f"label_error:{sample}", sample=sample, decision="relabel", reviewer="a", new_label=label)
    assert command("export", what, odd, "--out", tmp_path / "out.csv") == 0
    text = (tmp_path / "out.csv").read_text()
    assert any(sign in text for sign in (",-1,", ",=cmd,")) and "'=cmd" not in text and "''-1" not in text


def test_a_coreset_as_a_dataset_has_the_labels_of_the_dataset(odd, tmp_path):
    data = odd.path.parent / "data" / "part.csv"
    words = ("--method", "cld", "--per-class", "1", "--out", tmp_path / "core.csv", "--manifest", data)
    assert command("export", "coreset", odd.path, *words) == 0
    known = dict(zip(odd.samples()["path"], odd.samples()["label"]))
    read = read_manifest(data).rows
    assert [known[path] for path in read["path"]] == read["label"].tolist() and set(read["label"]) == set(ODD)
    data.unlink()


# --------------------------------------------------------------------------------------------- for people


@pytest.mark.parametrize(
    "what", [("cleaned",), ("findings",), ("cleanlab",), ("coreset", "--method", "random", "--fraction", "1.0")]
)
def test_a_file_for_a_spreadsheet_is_marked_and_safe_and_read_as_it_was(odd, tmp_path, what):
    out = tmp_path / "out.csv"
    assert command("export", what[0], odd.path, *what[1:], "--out", out, "--for-excel") == 0
    assert out.read_bytes().startswith(BOM.encode())
    text = out.read_text(encoding="utf-8-sig")
    cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
    assert not [cell for cell in cells for piece in cell.split(";") if piece.startswith(("=", "+", "@"))]
    if what[0] == "coreset":
        read, record = files.read(out)
        assert set(read["label"]) == set(ODD) and files.untouched(out, record)
    if what[0] == "cleaned":
        assert set(read_manifest(out).rows["label"]) == set(ODD)
        assert command("export", "cleaned", odd.path, "--out", out) == 0  # an earlier export may be replaced
        assert not out.read_bytes().startswith(BOM.encode())


def test_only_a_csv_is_for_a_spreadsheet(odd, tmp_path, capsys):
    error = refused(capsys, "export", "cleaned", odd.path, "--out", tmp_path / "tree", "--for-excel")
    assert "expected a file name that ends in .csv with --for-excel" in error and not (tmp_path / "tree").exists()


# --------------------------------------------------------------------------------------------- silence


@pytest.mark.parametrize(
    "what",
    [
        *((name,) for name in ("findings", "cleaned", "cleanlab", "manifest", "changes")),
        ("coreset", "--method", "random", "--fraction", "0.5"),
        ("findings", "--for-excel"),
    ],
)
def test_what_nobody_has_edited_stores_nothing(made, tmp_path, what):
    out = tmp_path / "out.csv"
    assert command("export", what[0], made.path, *what[1:], "--out", out) == 0
    made = exchange.plan(made, out.read_bytes(), "out.csv", "me")
    assert not made.decisions and made.nothing == made.rows


def test_the_manifest_itself_is_no_list_of_decisions(made):
    content = (made.path.parent / "data" / "labels.csv").read_bytes()
    assert not exchange.plan(made, content, "labels.csv", "me").decisions
    bare = "".join(line.rsplit(",", 1)[0] + "\n" for line in content.decode().splitlines())  # without the split
    assert not exchange.plan(made, bare.encode(), "labels.csv", "me").decisions


@pytest.mark.parametrize(("column", "count"), [("label", 1), ("new_label", 2)])
def test_an_edited_label_or_a_column_for_it_counts(made, tmp_path, column, count):
    table = export.findings(made).astype(object)
    one, other = table.index[table["kind"] == "label_error"][:2]
    label = next(name for name in made.classes if name != table.at[one, "label"])
    table[column] = table["label"] if column == "label" else ""
    table.loc[one, column] = label
    table.loc[other, column] = table.at[other, "label"]  # written by somebody only in a column of its own
    content = table.to_csv(index=False).encode()
    decisions = exchange.plan(made, content, "findings.csv", "me").decisions
    assert len(decisions) == count and decisions[0]["new_label"] == label
    assert {one["decision"] for one in decisions[1:]} <= {"keep"}


def test_a_label_edited_in_a_cleaned_table_counts(made, tmp_path):
    table = export.cleaned(applied(made)).astype(object)
    label = next(name for name in made.classes if name != table.at[7, "label"])
    table.loc[7, "label"] = label
    decisions = exchange.plan(made, table.to_csv(index=False).encode(), "cleaned.csv", "me").decisions
    assert [(one["sample"], one["new_label"]) for one in decisions] == [(7, label)]


def test_answers_of_somebody_who_labelled_anew_keep_their_yes(made):
    some = made.samples().iloc[:5][["path", "label"]]
    decisions = exchange.plan(made, some.to_csv(index=False).encode(), "answers.csv", "me").decisions
    assert [one["decision"] for one in decisions] == ["keep"] * 5
    named = made.samples()[["path", "label"]].assign(reviewer="ann")
    assert len(exchange.plan(made, named.to_csv(index=False).encode(), "all.csv", None).decisions) == len(named)


# --------------------------------------------------------------------------------------------- letters


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_answers_in_either_unicode_form_find_their_samples(tmp_path, form):
    run = make_run(tmp_path, kind="folder", classes=("chat", "Hündin"), train=6, held_out=3)
    samples = run.samples()
    samples["path"] = samples["path"].str.replace("class_001", "Hündin")
    run.write_samples(samples, run.unreadable())
    answers = samples.iloc[:4][["path"]].assign(label=["Hündin"] * 4)
    text = unicodedata.normalize(form, answers.to_csv(index=False))
    decisions = exchange.plan(run, text.encode(), "answers.csv", "me").decisions
    assert [one["sample"] for one in decisions] == [0, 1, 2, 3]
    assert {one["new_label"] for one in decisions} <= {"Hündin", None}
    short = unicodedata.normalize(form, "path,label\nHündin/train_001.png,chat\n")  # a part of the path is enough
    assert [one["sample"] for one in exchange.plan(run, short.encode(), "a.csv", "me").decisions] == [1]


def test_where_two_classes_differ_in_unicode_form_alone_it_is_said(tmp_path):
    twins = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    run = make_run(tmp_path, classes=(*twins, "thé"), train=4, held_out=2)
    path = run.samples()["path"].iloc[0]
    for name in twins:  # each is itself
        exchange.plan(run, f"path,label\n{path},{name}\n".encode(), "a.csv", "me")
    third = twins[0].upper().replace("CAFÉ", "cafe\u0301\u0323")
    with pytest.raises(LossprintError, match="unknown label"):
        exchange.plan(run, f"path,label\n{path},{third}\n".encode(), "a.csv", "me")


def test_cells_that_a_spreadsheet_kept_guarded_find_their_samples(odd):
    rows = odd.samples().iloc[:6]
    text = "path,new_label\n" + "".join(f'{path},"{guard("=cmd")}"\n' for path in rows["path"])
    decisions = exchange.plan(odd, text.encode(), "answers.csv", "me").decisions
    assert len(decisions) == 6 and {one["new_label"] for one in decisions} <= {"=cmd", None}
