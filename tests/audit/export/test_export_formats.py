"""Rules and formats of the exports: corrected manifests, Parquet, records, cleanlab's table, Label Studio's tasks."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import at_home, digests, make_run, read_csv

from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.export import export, labelstudio, manifests, outfile
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError

NASTY = ("=1+1", 'a "b", c', "two\nlines", "<b>&amp;")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path):
    return at_home(shutil.copytree(made, tmp_path / "home"))


def decide(run, *rows) -> None:
    """Rows (sample, reviewer, what[, role]); `what` is a decision or `=LABEL`."""
    reviews = open_reviews(run)
    for sample, who, what, *role in rows:
        label = what[1:] if what.startswith("=") else None
        decision = "relabel" if label else what
        more = {"new_label": label, "role": (role or [""])[0]}
        reviews.add(finding=f"label_error:{sample}", sample=sample, decision=decision, reviewer=who, **more)


SAID = [
    (1, "ann", "=shirt"), (1, "bob", "=shirt"), (1, "cay", "keep"),  # a majority, not settled
    (4, "ann", "=bag"), (4, "bob", "=bag"),  # settled
    (5, "ann", "exclude"), (5, "bob", "keep"),  # a tie
    (6, "ann", "unsure"), (7, "ann", "unsure"), (7, "bob", "=shirt"),
    (8, "cay", "=shirt"),  # the given label
    (9, "ann", "=coat"), (9, "bob", "exclude"), (9, "cay", "keep", "adjudication"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "new"),
    [
        ("latest", {4: "bag", 7: "shirt"}),
        ("majority", {1: "shirt", 4: "bag", 7: "shirt"}),
        ("settled", {4: "bag"}),
        ("adjudicated", {}),
        ("reviewer:ann", {1: "shirt", 4: "bag", 5: "", 9: "coat"}),
        ("reviewer:bob", {1: "shirt", 4: "bag", 7: "shirt", 9: ""}),
    ],
)
def test_rules_say_whose_decisions_apply_and_each_change_traces_to_one(run, rule, new):
    decide(run, *SAID)
    changed, kept = export.changes(applied(run, apply=rule)), export.cleaned(applied(run, apply=rule))
    samples = run.samples().set_index("path")["sample"]
    assert dict(zip(samples[changed["path"]], changed["new"])) == new
    assert len(kept) == 54 - sum(label == "" for label in new.values())
    history = open_reviews(run).history().set_index("id")
    for row in changed.itertuples():
        decision = history.loc[row.review]
        assert decision["stands"] and decision["sample"] == samples[row.path] and decision["reviewer"] == row.reviewer
        assert (decision["new_label"] == row.new) if row.new else decision["decision"] == "exclude"
    counted = applied(run, apply=rule).tally(run.samples().set_index("sample")["label"])
    assert (counted.relabelled, counted.excluded) == (
        sum(map(bool, new.values())),
        sum(not one for one in new.values()),
    )


def test_unsure_samples_are_dropped_where_asked(run, tmp_path):
    decide(run, *SAID)
    assert export.changes(applied(run, unsure="drop"))["decision"].tolist() == ["relabel", "unsure", "relabel"]
    kept = export.cleaned(applied(run, apply="majority", unsure="drop"))
    samples = run.samples()
    assert set(samples["path"]) - set(kept["path"]) == {samples["path"][6]}
    row = export.changes(applied(run, apply="majority", unsure="drop")).set_index("decision").loc["unsure"]
    assert row["new"] == "" and row["reason"] == "left out, unsure in review of label_error:6"
    done = export.write_cleaned(applied(run, unsure="drop"), tmp_path / "c.csv")
    assert (done.excluded, done.unsure, done.kept) == (1, 1, 53) and "1 excluded (1 of them unsure)" in str(done)
    for options in ({"unsure": "perhaps"}, {"apply": "best"}, {"apply": "reviewer:eve"}):
        with pytest.raises(LossprintError, match="expected"):
            export.write_cleaned(applied(run, **options), tmp_path / "never.csv")
    assert not (tmp_path / "never.csv").exists()


def test_the_record_says_what_was_applied_without_a_clock(run, tmp_path):
    decide(run, *SAID)
    for out in (tmp_path / "c.csv", tmp_path / "c2.parquet", tmp_path / "tree"):
        export.write_cleaned(applied(run, apply="majority", unsure="drop"), out)
        record = outfile.read_record(out)
        assert record["dataset"] == run.manifest["dataset"]["source"]
        assert record["run"] == {
            "name": "run",
            "path": str(run.path),
            "fingerprint": run.manifest["dataset"]["fingerprint"],
            "created": run.manifest["created"],
        }
        assert (record["rule"], record["unsure"], record["samples"]) == ("majority", "drop", 53)
        assert (record["relabelled"], record["excluded"], record["reviewers"]) == (3, 1, ["ann", "bob", "cay"])
        assert record["last_review"] == 14 and record["decisions"] == 6
    assert outfile.read_record(tmp_path / "tree" / "labels.csv") == record
    assert outfile.read_record(tmp_path / "none.csv") is None
    first = digests(tmp_path)
    for out in (tmp_path / "c.csv", tmp_path / "c2.parquet"):
        export.write_cleaned(applied(at_home(run.path.parent), apply="majority", unsure="drop"), out)
    again = {name: value for name, value in digests(tmp_path).items() if not name.startswith("home/run")}
    assert again == {name: value for name, value in first.items() if not name.startswith("home/run")}


def test_another_file_in_the_place_of_the_record_is_left_alone(run, tmp_path):
    (tmp_path / "c.csv.json").write_text('{"mine": 1}')
    with pytest.raises(LossprintError, match=r"expected no file or an earlier record of c\.csv, found"):
        export.write_cleaned(applied(run), tmp_path / "c.csv")
    assert (tmp_path / "c.csv.json").read_text() == '{"mine": 1}' and not (tmp_path / "c.csv").exists()


def test_parquet_is_a_manifest_and_the_same_table_as_the_csv(run):
    decide(run, *SAID)
    root = Path(run.manifest["dataset"]["root"])
    done = export.write_cleaned(applied(run), root / "cleaned.parquet")
    table = pq.read_table(done.manifest).to_pandas()
    wanted = export.cleaned(applied(run))
    assert list(table) == list(wanted) and table["label"].tolist() == wanted["label"].tolist()
    assert table["review"].dropna().astype(int).tolist() == wanted["review"].dropna().tolist()
    assert open_dataset(done.manifest).samples["label"].tolist() == wanted["label"].tolist()
    export.write_cleaned(applied(run), root / "cleaned.parquet")  # an earlier export is replaced
    shutil.copyfile(root / "labels.csv", root / "other.parquet")
    with pytest.raises(LossprintError, match="expected a new file or an earlier export"):
        export.write_cleaned(applied(run), root / "other.parquet")


# ---------------------------------------------------------------------------------------------------- manifests


def with_manifest(run: Run, text: bytes, name: str = "odd.csv") -> Run:
    """The run as if its manifest were this text; its samples are those that the dataset reader finds in it."""
    source = Path(run.manifest["dataset"]["root"]) / name
    source.write_bytes(text)
    rows = open_dataset(source, check=False)
    run.write_samples(rows.samples, rows.unreadable)
    dataset = {**run.manifest["dataset"], "source": str(source), "classes": rows.classes}
    return Run(run.path, {**run.manifest, "dataset": dataset})


def odd(run: Run, end: str = "\r\n") -> bytes:
    """A manifest with a BOM, columns of its own in another order, quoted cells with line ends, and a blank line."""
    rows = run.samples()
    lines = ['﻿id,"label", note ,path,split,"x;y"', ""]
    for row in rows.itertuples():
        label = f'"{row.label}"' if row.sample % 2 else row.label
        note = {1: '"said ""no""' + end + 'twice, here"', 2: "=SUM(A1);b", 3: " 'x "}.get(row.sample, "")
        lines.append(f"{row.sample:03d},{label},{note},{row.path},{row.split},a;b")
    return end.join(lines).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_corrected_csv_differs_in_the_changed_cells_only(run, tmp_path, end):
    content = odd(run, end)
    run = with_manifest(run, content)
    decide(run, (1, "ann", "=shirt"), (4, "ann", "=bag"), (53, "ann", "exclude"), (0, "ann", "=bag"))
    made = manifests.corrected(applied(run))
    # shirt is first spelled bare (sample 2), bag bare (sample 0): so the manifest itself spells them.
    wanted = content.replace(b'001,"coat",', b"001,shirt,").replace(b"004,coat,", b"004,bag,")
    wanted = wanted[: wanted.index(b"053,")]
    assert made == wanted and made != content
    out, record = manifests.write_manifest(applied(run), tmp_path / "m.csv")
    assert out.read_bytes() == made and (record["relabelled"], record["excluded"], record["samples"]) == (2, 1, 53)
    assert outfile.read_record(out) == record
    again = open_dataset(shutil.copyfile(out, Path(run.manifest["dataset"]["root"]) / "m2.csv"), check=False)
    assert again.samples["label"].tolist() == export.cleaned(applied(run))["label"].tolist()


def test_hostile_labels_are_spelled_as_the_manifest_spells_them(tmp_path):
    run = make_run(tmp_path, classes=NASTY, train=3, held_out=1)
    source = Path(run.manifest["dataset"]["source"])
    decide(run, *[(sample, "=ann", f"={label}") for sample, label in enumerate(NASTY)])
    before = read_csv(source)
    manifests.write_manifest(applied(run), tmp_path / "m.csv")
    after = read_csv(tmp_path / "m.csv")
    assert [row["label"] for row in after[:4]] == list(NASTY) and after[4:] == before[4:]
    assert [row["path"] for row in after] == [row["path"] for row in before]


def test_without_decisions_the_copy_is_the_same_file(run):
    source = Path(run.manifest["dataset"]["source"])
    assert manifests.corrected(applied(run)) == source.read_bytes()


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.float64()])
def test_a_corrected_parquet_keeps_its_types_columns_and_order(run, tmp_path, kind):
    rows = run.samples()
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    labels = [("bag", "coat", "shirt").index(label) for label in rows["label"]] if number else rows["label"].tolist()
    columns = {"when": pa.array(np.arange(54), pa.timestamp("ms")), "label": pa.array(labels).cast(kind)}
    columns |= {"path": pa.array(rows["path"].tolist()), "split": pa.array(rows["split"].tolist())}
    table = pa.table(columns).replace_schema_metadata({"of": "theirs"})
    pq.write_table(table, tmp_path / "odd.parquet", row_group_size=10)
    run = with_manifest(run, (tmp_path / "odd.parquet").read_bytes(), "odd.parquet")
    new = run.classes[0]
    decide(run, (1, "ann", f"={new}"), (5, "ann", "exclude"))
    out, _ = manifests.write_manifest(applied(run), tmp_path / "m.parquet")
    again = pq.read_table(out)
    assert again.schema.equals(table.schema, check_metadata=True)
    cells = table.to_pylist()
    cells[1]["label"] = cells[0]["label"]
    assert again.to_pylist() == cells[:5] + cells[6:]
    assert out.read_bytes() == manifests.corrected(applied(run))


def test_a_manifest_that_is_not_the_audited_one_is_refused(run, tmp_path):
    decide(run, (1, "ann", "=shirt"))
    source = Path(run.manifest["dataset"]["source"])
    text = source.read_text()
    lines = text.splitlines(keepends=True)
    for broken, says in (
        (text.replace("train_002.png,shirt", "train_002.png,bag"), "with 'shirt' in line 4, found 'bag'"),
        ("".join([lines[0], lines[2], lines[1], *lines[3:]]), "in line 2, found 'images/train_001.png'"),
        ("".join(lines[:-1]), "found only 53 rows"),
        ("", "expected the columns path and label in"),
        ('path,label,split\n"', "expected the manifest .* as it was audited, found"),
    ):
        source.write_text(broken)
        with pytest.raises(LossprintError, match=says) as error:
            manifests.write_manifest(applied(run), tmp_path / "m.csv")
        assert "\n" not in str(error.value)
    source.unlink()
    with pytest.raises(LossprintError, match="expected the run's manifest, found no such file"):
        manifests.corrected(applied(run))
    assert not (tmp_path / "m.csv").exists()


def test_manifests_are_not_written_over_the_dataset_or_for_folders(run, tmp_path):
    root = Path(run.manifest["dataset"]["root"])
    (root / "theirs.csv").write_text("path,label\n")
    before = digests(root)
    for out, says in (
        (root / "labels.csv", "another file than the dataset's own manifest"),
        (root / "theirs.csv", "a new file or an earlier export"),
        (tmp_path / "m.parquet", "a file name that ends in .csv"),
        (run.path / "m.csv", "a file outside the run folder"),
    ):
        with pytest.raises(LossprintError, match=f"expected {says}"):
            manifests.write_manifest(applied(run), out)
    assert digests(root) == before
    manifests.write_manifest(applied(run), root / "m.csv")
    manifests.write_manifest(applied(run), root / "m.csv")
    folder = make_run(tmp_path / "folder", kind="folder", train=3, held_out=1)
    with pytest.raises(LossprintError, match="a CSV or Parquet manifest, found a folder of class folders"):
        manifests.corrected(applied(folder))


# ---------------------------------------------------------------------------------------------------- other tools


def test_cleanlabs_table_has_quality_flags_and_the_decided_label(run, tmp_path):
    decide(run, *SAID)
    decisions = applied(run, apply="reviewer:ann")
    frame = export.cleanlab(decisions)
    assert tuple(frame) == export.CLEANLAB and len(frame) == 54
    assert frame.loc[frame["is_label_issue"], "sample"].tolist() == [1, 4]
    scores = run.scores().set_index("sample")["label_error"]
    quality = frame.set_index("sample")["label_quality"]
    np.testing.assert_allclose(quality[scores.index], 1 - scores, atol=1e-6)
    assert quality.dropna().between(0, 1).all() and quality[30:].isna().all()
    by = frame.set_index("sample")
    assert by.loc[1, ["given_label", "predicted_label", "cleaned_label"]].tolist() == ["coat", "shirt", "shirt"]
    assert pd.isna(by.loc[5, "cleaned_label"]) and by.loc[2, "cleaned_label"] == by.loc[2, "given_label"]
    out = tmp_path / "c.csv"
    pd.testing.assert_frame_equal(export.write_table(decisions, export.cleanlab, out), frame)
    row = read_csv(out)[1]
    assert row["is_label_issue"] == "True" and row["label_quality"] == str(quality[1]) and row["review"] == "1"
    assert outfile.read_record(out)["rule"] == "reviewer:ann"


def test_tasks_carry_the_suggestion_and_every_reviewers_decision(run, tmp_path):
    decide(run, *SAID)
    made = labelstudio.tasks(run)
    by = {task["data"]["sample"]: task for task in made}
    assert list(by) == sorted({*run.findings()["sample"], *(row[0] for row in SAID)})
    one = by[1]
    assert one["data"]["image"] == "/data/local-files/?d=images/train_001.png"
    assert one["predictions"][0]["score"] == 0.9
    assert one["predictions"][0]["result"][0]["value"] == {"choices": ["shirt"]} and by[5]["predictions"] == []
    said = [(a["result"][0]["from_name"], a["result"][0]["value"]["choices"]) for a in one["annotations"]]
    assert said == [("label", ["shirt"]), ("label", ["shirt"]), ("label", ["coat"])]
    assert [a["result"][0]["from_name"] for a in by[5]["annotations"]] == ["verdict", "label"]
    assert [a["ground_truth"] for a in by[9]["annotations"]] == [False, False, True]
    count, beside = labelstudio.write_tasks(run, tmp_path / "t.json")
    assert count == len(made) and json.loads((tmp_path / "t.json").read_bytes()) == made
    assert (tmp_path / "t.json").read_bytes() == labelstudio.tasks_bytes(open_run(run.path))
    controls = ElementTree.parse(beside).getroot()
    assert [choice.get("value") for choice in controls.findall("Choices[@name='label']/Choice")] == run.classes
    named = {node.get("name") for node in controls}
    assert {part["from_name"] for t in made for a in t["annotations"] for part in a["result"]} <= named


def test_hostile_labels_are_whole_in_the_labelling_interface():
    controls = ElementTree.fromstring(labelstudio.config([*NASTY, "tab\tand \x01"]))
    values = [choice.get("value") for choice in controls.findall("Choices[@name='label']/Choice")]
    assert values == [*NASTY, "tab\tand \ufffd"]


def test_tasks_are_not_written_over_files_of_the_dataset(run):
    root = Path(run.manifest["dataset"]["root"])
    (root / "t.xml").write_text("<mine/>")
    with pytest.raises(LossprintError, match=r"an earlier export in the dataset.s folder, found .*t\.xml"):
        labelstudio.write_tasks(run, root / "t.json")
    assert not (root / "t.json").exists() and (root / "t.xml").read_text() == "<mine/>"
    labelstudio.write_tasks(run, root / "u.json")
    labelstudio.write_tasks(run, root / "u.json")
