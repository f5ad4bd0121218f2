"""From what was seen over time to findings, decisions and corrected manifests, on made-up videos."""

import itertools
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import at_home, make_run
from videos import make_video_run

from lossprint.audit.cli.main import main
from lossprint.audit.export import exchange, export, manifests
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.tables import FRAMES, SPANS
from lossprint.audit.types import LossprintError
from lossprint.audit.video import spans
from lossprint.audit.workflow import demo_videos


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    run, truth = make_video_run(folder)
    return run, truth, folder


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made[2], tmp_path / "home")
    return at_home(tmp_path / "home")


def span_of(run, truth, error):
    """The row of the found span that is the planted error of this kind."""
    planted = truth.spans[truth.spans["error"] == error].iloc[0]
    found = run.spans()
    found = found[found["sequence"] == planted["sequence"]]
    return found[(found["start"] <= planted["end"]) & (found["end"] >= planted["start"])].iloc[0], planted


def accept(run, span, choice="accept", reviewer="ann", **ends):
    rows = spans.decide(run.frames(), span, choice, **ends)
    asked = [{name: None if pd.isna(row[name]) else row[name] for name in rows} for _, row in rows.iterrows()]
    return open_reviews(run).add_all([{**one, "finding": span["span"], "reviewer": reviewer} for one in asked])


def test_each_planted_error_is_one_finding_of_its_kind_and_ends(made):
    run, truth, _ = made
    how = {"phase": "relabel", "window": "relabel", "boundary": "relabel", "swap": "swap", "moved": "move"}
    for error in demo_videos.ERRORS:
        span, planted = span_of(run, truth, error)
        assert span["how"] == how[error]
        assert abs(span["start"] - planted["start"]) <= 2 and abs(span["end"] - planted["end"]) <= 2
        assert span["severity"] > 0.5
    assert len(run.spans()) <= len(truth.spans) + 1  # of so few videos, a rare order looks like a wrong one
    table = run.frames()
    assert list(table) == FRAMES.names and list(run.spans()) == SPANS.names
    assert len(table) == len(truth.frames) and not table.drop(columns="frame_csl").isna().any().any()
    quiet = ~table["sequence"].isin({*truth.spans["sequence"], *run.spans()["sequence"]})
    assert quiet.sum() > 150
    assert table.loc[quiet, ["sequence_label", "sequence_order"]].max().max() < 0.5


def test_findings_have_a_row_a_frame_with_its_own_suggestion(made):
    run, truth, _ = made
    found = run.findings()
    assert set(found["kind"]) >= {"sequence_label", "sequence_order"}
    assert "label_error" not in set(found["kind"])
    span, _ = span_of(run, truth, "swap")
    mine = found[found["group"] == span["span"]]
    assert len(mine) == span["frames"] and (mine["label"] != mine["suggested_label"]).all()
    true = truth.frames["true_label"].to_numpy()[mine["sample"]]
    assert (mine["suggested_label"].to_numpy(object) == true).mean() > 0.95
    moved, _ = span_of(run, truth, "moved")
    assert found.loc[found["group"] == moved["span"], "suggested_label"].isna().all()
    scores = run.scores()
    assert scores["sequence_order"].notna().all() and scores["sequence_label"].between(0, 1).all()


def test_an_accepted_move_puts_the_manifest_in_the_right_order(made, run):
    truth = made[1]
    span, planted = span_of(run, truth, "moved")
    accept(run, span)
    source = truth.manifest.read_text().splitlines()
    right = manifests.corrected(applied(run)).decode().splitlines()
    assert right[0] == source[0] and len(right) == len(source)
    table = pd.read_csv(truth.manifest)
    new = pd.read_csv(pd.io.common.BytesIO(manifests.corrected(applied(run))))
    mine = new[new["sequence"] == planted["sequence"]]
    assert mine["frame"].is_monotonic_increasing and mine["frame"].tolist() == list(range(len(mine)))
    frames = truth.frames[truth.frames["sequence"] == planted["sequence"]].sort_values("true_frame")
    assert mine["path"].tolist() == frames["path"].tolist()
    assert mine["label"].tolist() == frames["true_label"].tolist()
    others = table["sequence"] != planted["sequence"]
    pd.testing.assert_frame_equal(new[others], table[others])
    cleaned = export.cleaned(applied(run))
    mine = cleaned[cleaned["sequence"] == planted["sequence"]]
    assert mine["path"].tolist() == frames["path"].tolist() and mine["frame"].is_monotonic_increasing
    changed = export.changes(applied(run))
    assert (changed["decision"] == "reorder").all() and len(changed) == span["frames"]
    assert (changed["old"] == changed["new"]).all() and (changed["old_frame"] != changed["new_frame"]).all()
    assert applied(run).tally(run.samples().set_index("sample")["label"]).reordered == len(changed)


def test_a_parquet_manifest_is_put_in_order_too(made, run):
    truth = made[1]
    span, planted = span_of(run, truth, "moved")
    accept(run, span)
    table = pd.read_csv(truth.manifest)
    source = truth.manifest.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pandas(table.assign(note=range(len(table)))), source)
    found = pq.read_table(pa.BufferReader(manifests._corrected(source, applied(run)))).to_pandas()
    csv = pd.read_csv(pd.io.common.BytesIO(manifests.corrected(applied(run))))
    pd.testing.assert_frame_equal(found[list(csv)], csv)
    here = found["sequence"] == planted["sequence"]
    assert (found.loc[~here, "note"] == np.flatnonzero(~here)).all()
    assert not found.loc[here, "note"].is_monotonic_increasing


def test_accepted_labels_and_places_hold_side_by_side(made, run):
    truth = made[1]
    span, _ = span_of(run, truth, "moved")
    accept(run, span)
    sample = int(run.frames().query("sequence == @span.sequence and frame == @span.start")["sample"].iloc[0])
    reviews = open_reviews(run)
    reviews.add(finding=f"outlier:{sample}", sample=sample, decision="relabel", new_label="wash", reviewer="ann")
    row = applied(run).table.set_index("sample").loc[sample]
    assert row["label"] == "wash" and row["frame"] != row["given_frame"] and row["change"] == "relabelled"
    reviews.add(finding=f"outlier:{sample}", sample=sample, decision="exclude", reviewer="ann")
    lines = manifests.corrected(applied(run)).decode().splitlines()
    assert len(lines) == len(truth.frames) and not any(row["path"] in line for line in lines)
    accept(run, span, "keep")
    row = applied(run).table.set_index("sample").loc[sample]
    assert row["frame"] == row["given_frame"] and row["change"] == "excluded"


def test_an_accepted_swap_and_a_relabel_with_other_ends(made, run):
    truth = made[1]
    for error in ("swap", "phase", "window", "boundary"):
        span, planted = span_of(run, truth, error)
        accept(run, span, start=int(planted["start"]), end=int(planted["end"]))
    table = pd.read_csv(pd.io.common.BytesIO(manifests.corrected(applied(run))))
    still = truth.frames["error"] == "moved"
    pd.testing.assert_series_equal(table["label"], truth.frames["true_label"], check_names=False)
    assert (table["frame"] == truth.frames["frame"]).all() and still.any()
    progress = open_reviews(run).progress(run.findings()).set_index("kind")
    assert progress.loc["sequence_label", "relabel"] == 3 and progress.loc["sequence_order", "relabel"] == 1


def test_segments_are_the_stretches_of_one_label_as_decided(made, run, tmp_path):
    truth = made[1]
    for error in ("swap", "moved"):
        accept(run, span_of(run, truth, error)[0])
    found = export.segments(applied(run))
    assert list(found) == ["sequence", "start", "end", "label"]
    for error in ("swap", "moved"):
        name = truth.spans.loc[truth.spans["error"] == error, "sequence"].iloc[0]
        frames = truth.frames[truth.frames["sequence"] == name].sort_values("true_frame")
        labels = frames["true_label"].tolist()
        expected = [[label, len(list(rows))] for label, rows in itertools.groupby(labels)]
        mine = found[found["sequence"] == name]
        assert [[row.label, row.end - row.start + 1] for row in mine.itertuples()] == expected
        assert mine["start"].iloc[0] == 0 and (mine["start"].iloc[1:].to_numpy() == mine["end"].iloc[:-1] + 1).all()
    sample = int(run.frames()["sample"].iloc[3])
    open_reviews(run).add(finding="outlier:0", sample=sample, decision="exclude", reviewer="ann")
    name = run.frames()["sequence"].iloc[3]
    first, second = (row for _, row in export.segments(applied(run)).query("sequence == @name").head(2).iterrows())
    assert (first["end"], second["start"], first["label"]) == (2, 4, second["label"])
    out = tmp_path / "segments.csv"
    assert main(["export", "segments", str(run.path), "--out", str(out)]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(out), export.segments(applied(run)), check_dtype=False)
    out = tmp_path / "segments.parquet"
    assert main(["export", "segments", str(run.path), "--out", str(out), "--for-excel"]) == 2 and not out.exists()
    assert main(["export", "segments", str(run.path), "--out", str(out)]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(out), export.segments(applied(run)), check_dtype=False)
    assert out.with_name("segments.parquet.json").is_file()


def test_a_dataset_without_videos_has_no_segments(tmp_path):
    with pytest.raises(LossprintError, match="expected video frames"):
        export.segments(applied(make_run(tmp_path)))


def test_orders_that_contradict_each_other_are_refused_in_one_line(made, run):
    span, planted = span_of(run, made[1], "moved")
    rows = spans.decide(run.frames(), span, "accept")
    one = rows.iloc[0]
    new = {"new_frame": int(one["new_frame"]), "reviewer": "ann", "decision": "reorder"}
    open_reviews(run).add(finding=span["span"], sample=int(one["sample"]), **new)
    with pytest.raises(LossprintError, match=f"each frame of '{planted['sequence']}' once, found frame") as error:
        export.cleaned(applied(run))
    assert "\n" not in str(error.value) and span["span"] in str(error.value)


def test_a_decision_on_a_place_must_make_sense(run):
    reviews = open_reviews(run)
    asked = {"finding": "sequence_order:0", "sample": 0, "reviewer": "ann"}
    for change, says in (
        ({"decision": "reorder"}, "expected the new frame number of sample 0, found None"),
        ({"decision": "reorder", "new_frame": -1}, "found -1"),
        ({"decision": "relabel", "new_label": "wash", "new_frame": 3}, "expected no new frame with 'relabel'"),
    ):
        with pytest.raises(LossprintError, match=says):
            reviews.add(**asked, **change)
    assert reviews.history().empty


def test_decisions_on_places_go_out_and_come_in_again(made, run, tmp_path):
    span, _ = span_of(run, made[1], "moved")
    accept(run, span)
    file = tmp_path / "changes.csv"
    file.write_text(export.csv_text(export.changes(applied(run))))
    shutil.copytree(made[2], tmp_path / "other")
    other = at_home(tmp_path / "other")
    plan = exchange.import_file(other, file)
    assert plan.counts == {"reorder": span["frames"]}
    assert exchange.import_file(other, file).counts == {}
    assert manifests.corrected(applied(other)) == manifests.corrected(applied(run))


def test_a_damaged_timeline_is_told_and_a_run_without_one_is_as_before(run):
    file = run.path / "timeline.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(LossprintError, match="expected what was seen over time"):
        run.timeline()
    file.unlink()
    (run.path / "frames.parquet").unlink()
    (run.path / "spans.parquet").unlink()
    again = open_run(run.path)
    assert again.timeline() is None and again.frames() is None and again.spans().empty
