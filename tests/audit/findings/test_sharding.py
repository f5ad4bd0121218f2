"""Scoring by shards: the same tables whatever the number of shards, and the same as by plain calls on whole arrays."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import plain_label_errors
from nasty_runs import cut_into, differences, nasty_run, scored

from lossprint.audit.cli.main import main
from lossprint.audit.findings import engines, find, planning, sharding
from lossprint.audit.findings.score import score_run
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import LOOKUP_ROWS, rows_writer
from lossprint.audit.types import LossprintError
from lossprint.scoring import labels as label_scores
from lossprint.scoring import pairs, trajectory

KINDS = ("plain", "seeds", "folds", "bare", "late", "norms")


@pytest.fixture(scope="module", params=KINDS)
def nasty(request, tmp_path_factory) -> Run:
    return nasty_run(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def in_seven(nasty) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        return scored(nasty, 7, patch)


# ---------------------------------------------------------------------------------------------- the same tables


def test_any_number_of_shards_gives_the_same_tables(nasty, in_seven, monkeypatch):
    whole = scored(nasty, 1, monkeypatch)
    assert len(whole["scores"]) == 150 and len(whole["pairs"]) > 2500 and len(whole["findings"]) >= 3
    for tables in (in_seven, scored(nasty, 2, monkeypatch)):
        assert set(differences(tables, whole).values()) == {0.0}


@pytest.mark.parametrize("kind", ["plain", pytest.param("folds", marks=pytest.mark.proof)])
def test_a_shard_may_be_one_sample(kind, tmp_path, monkeypatch):
    run = nasty_run(tmp_path, kind, train=24, checkpoints=4)
    whole, each = (scored(run, count, monkeypatch) for count in (1, 24))
    # Along a single column numpy adds up in another order.
    assert max(differences(each, whole).values()) < 1e-14


def test_the_tables_are_those_of_plain_calls_on_whole_arrays(nasty, in_seven):
    tables = in_seven
    scores = tables["scores"].set_index("sample")
    train, val = (nasty.trajectory(split).trained() for split in ("train", "val"))
    assert scores.index.tolist() == train.samples.tolist() == sorted(train.samples)
    means = trajectory.class_means(val.losses, val.labels, 5)
    expected = {
        "cld": trajectory.cld(train.losses, train.labels, means),
        "ltc": trajectory.ltc(train.losses, train.labels, means),
        "csl": trajectory.csl(train.losses),
        "aum": np.nan if train.margins is None else trajectory.aum(train.margins),
        "el2n": np.nan if train.norms is None else trajectory.el2n(train.norms),
    }
    expected["p_mean"], expected["p_std"] = trajectory.data_map(train.losses)
    if train.margins is not None:
        missing = ~(np.isfinite(train.losses) & np.isfinite(train.margins))
        expected["forgetting"] = trajectory.forgetting(train.margins > 0, missing)
    errors, confidence = plain_label_errors(sources(nasty, train, val), 5)
    expected |= {"label_error": errors.severity, "rank_confidence": confidence}
    expected |= {name: nasty.curvature()[name].reindex(train.samples).to_numpy() for name in ("curvature", "trace")}
    for name, values in expected.items():
        np.testing.assert_array_equal(scores[name].to_numpy(), np.broadcast_to(values, len(scores)), err_msg=name)
    assert scores["triage"].tolist() == label_scores.triage(errors).tolist()
    names = [*nasty.classes, None]
    assert [None if pd.isna(one) else one for one in scores["suggested_label"]] == [names[k] for k in errors.suggested]
    # The planted errors, which lie in all shards, come first where margins tell.
    wrong = set(nasty.samples().query("split == 'train'").iloc[20:50]["sample"])
    found = tables["findings"].query("kind == 'label_error'")
    if train.margins is not None and not np.isnan(train.margins).any(axis=0).all():
        wrong &= set(train.samples[np.isfinite(train.margins).all(axis=0)])
        assert len(set(found["sample"].head(len(wrong) * 2 // 3)) & wrong) > len(wrong) / 2


def sources(run: Run, train, val) -> list:
    folds, seeds = run.members("fold"), run.members("seed")
    if folds:
        return [
            tuple(sharding.merged(fold.trajectory(split).trained() for fold in folds) for split in ("train", "val"))
        ]
    return [(train, val), *(tuple(seed.trajectory(split).trained() for split in ("train", "val")) for seed in seeds)]


def test_partners_are_those_of_a_call_for_all_samples(tmp_path, monkeypatch):
    run = nasty_run(tmp_path)
    stored = scored(run, 7, monkeypatch)["pairs"]
    train, val = (run.trajectory(split).trained() for split in ("train", "val"))
    found = pairs.partners(train.losses, val.losses, 5)
    for side in ("aligned", "conflicting"):
        rows = stored[(stored["scope"] == "all") & (stored["side"] == side)]
        index = getattr(found, side)
        known = index >= 0
        assert rows["sample"].tolist() == train.samples[np.nonzero(known)[0]].tolist()
        assert rows["partner"].tolist() == val.samples[index[known]].tolist()
        assert rows["correlation"].tolist() == getattr(found, f"{side}_correlation")[known].tolist()
        assert rows["rank"].tolist() == (np.nonzero(known)[1] + 1).tolist()
    keys = list(stored[["sample", "scope", "side", "rank"]].itertuples(index=False, name=None))
    assert keys == sorted(keys)


def test_of_very_many_samples_only_the_suspicious_keep_partners(tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "MANY", 100)
    monkeypatch.setattr(sharding, "CANDIDATES", 3)
    run = nasty_run(tmp_path)
    tables = scored(run, 7, monkeypatch)
    flagged = set(tables["scores"].query("label_error > 0.5")["sample"])
    assert 20 < len(flagged) < 60 and set(tables["pairs"]["sample"]) == flagged
    val = run.trajectory("val")
    for label in range(4):
        mine = val.samples[val.labels == label]
        partners = set(tables["pairs"]["partner"]) & set(mine)
        assert partners <= {mine[0], mine[-1], *mine[len(mine) // 2 - 1 : len(mine) // 2 + 1]}
    assert tables["facts"]["score"]["partners"] == {"of": "label_error > 0.5", "candidates_per_class": 3}
    assert differences(scored(run, 1, monkeypatch), tables)


def test_confusions_of_parts_add_up():
    random = np.random.default_rng(2)
    labels = random.integers(0, 4, 100)
    numbers = {name: random.random(100) for name in ("margin", "probability", "given_probability", "stability")}
    found = label_scores.LabelErrors(severity=np.zeros(100), suggested=random.integers(-1, 4, 100), **numbers)
    whole = label_scores.confusions(found, labels, 4)
    parts = []
    for part in (slice(0, 1), slice(1, 60), slice(60, 100)):
        some = label_scores.LabelErrors(**{name: values[part] for name, values in vars(found).items()})
        parts.append(label_scores.confusions(some, labels[part], 4))
    both = parts[0] + parts[1] + parts[2]
    assert both.pairs.tolist() == whole.pairs.tolist() and both.sizes.tolist() == whole.sizes.tolist()
    assert whole.pairs.sum() == ((found.suggested >= 0) & (found.probability > found.given_probability)).sum()


def test_findings_need_the_rows_in_question_only(tmp_path, monkeypatch):
    run = nasty_run(tmp_path, "norms")
    scored(run, 2, monkeypatch)
    done = open_run(tmp_path / "run-2-False")
    evidence = find.Evidence(
        done.scores().set_index("sample"), done.samples().set_index("sample"), done.duplicates(), None, done.spans()
    )
    findings = [finding for finder in find.FINDERS for finding in finder(evidence)]
    stored = done.findings()
    assert {"label_error", "duplicate", "outlier"} <= set(stored["kind"])
    done.write_findings(findings, done.samples())
    pd.testing.assert_frame_equal(done.findings(), stored)


# ---------------------------------------------------------------------------------------------- how many shards


def test_shards_hold_all_samples_and_fit_into_the_memory(tmp_path):
    run = nasty_run(tmp_path)
    basis = planning.prepare(run, tmp_path / "scratch")
    for samples in (0, 1, 20_000, 3_000_001):
        many = planning.Basis(basis.job, np.arange(samples) * 2, basis.val, basis.seen, basis.learnt, 1.0)
        for memory in (0, 1e9, 3e9):
            for workers in (1, 4):
                shards, needed = planning.cut(many, memory, workers)
                assert sum(shard.count for shard in shards) == samples
                assert [shard.start for shard in shards] == np.cumsum([0, *(one.count for one in shards)])[:-1].tolist()
                assert all(shard.last - shard.first == 2 * shard.count - 2 for shard in shards if shard.count)
                assert needed <= memory or shards[0].count <= planning.LEAST
                assert len(shards) >= min(workers, samples // planning.LEAST)
                if shards[0].count > LOOKUP_ROWS:
                    assert {shard.count % LOOKUP_ROWS for shard in shards[:-1]} <= {0}
    whole, needed = planning.cut(many, 1e11)
    always = planning._always(many)
    assert len(whole) == 1 and 2 < len(planning.cut(many, always + (needed - always) / 3)[0]) < 20


def test_said_beforehand_where_there_are_many(tmp_path, monkeypatch, capsys):
    run = nasty_run(tmp_path)
    cut_into(3, monkeypatch)
    score_run(run, quiet=False)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("lossprint: scoring 150 samples x 6 checkpoints in 3 shards, about ")
    cut_into(1, monkeypatch)
    score_run(run, quiet=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "expected --workers only beside --engine ray"),
        (["--memory", "0"], "expected gigabytes"),
        (["--engine", "ray"], "pip install 'lossprint[ray]'"),
    ],
)
def test_wrong_use_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    run = nasty_run(tmp_path, train=80)
    code = main(["score", str(run.path), *options])
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1


def test_the_command_scores_within_a_memory(tmp_path, capsys):
    run = nasty_run(tmp_path, train=80)
    assert main(["score", str(run.path), "--memory", "1"]) == 0
    assert "label error" in capsys.readouterr().out and len(open_run(run.path).scores()) == 80


# ---------------------------------------------------------------------------------------------- files


def test_a_run_that_cannot_be_scored_anew_stays_as_it_is(tmp_path, monkeypatch):
    run = nasty_run(tmp_path)
    cut_into(3, monkeypatch)
    done = find.find_run(score_run(run))
    before = (done.scores_path.read_bytes(), (done.path / "run.json").read_bytes())

    class Stopped(engines.Local):
        def map(self, function, shards, job, *shared):
            for result in super().map(function, shards, job, *shared):
                yield result
                if function is sharding.measure:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_run(done, Stopped())
    part = sorted((done.path / "trajectories/split=train/checkpoint=00006").iterdir())[1]
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(LossprintError, match="checkpoint=00006"):
        score_run(done)
    assert (done.scores_path.read_bytes(), (done.path / "run.json").read_bytes()) == before
    assert not (done.path / ".scoring").exists()


def test_a_range_of_samples_reads_its_row_groups_only(tmp_path):
    run = nasty_run(tmp_path)
    size = 2 * LOOKUP_ROWS + 1000
    ids = np.arange(size)
    part = pd.DataFrame({"sample": ids, "loss": ids / size, "margin": 1.0, "predicted": 1}).sample(frac=1)
    part = part.astype({"loss": np.float32, "margin": np.float32, "predicted": np.int32})
    run.write_part("train", 50, part)
    file = run.path / "trajectories/split=train/checkpoint=00050/rank-0.parquet"
    about = pq.ParquetFile(file).metadata
    assert [about.row_group(k).num_rows for k in range(about.num_row_groups)] == [LOOKUP_ROWS, LOOKUP_ROWS, 1000]
    between = (LOOKUP_ROWS + 5, LOOKUP_ROWS + 9)
    assert run.part("train", 50, between)["sample"].to_pylist() == list(range(between[0], between[1] + 1))
    # The bytes of another row group may be anything at all: they are not read.
    start = about.row_group(2).column(0).data_page_offset
    with open(file, "rb+") as opened:
        opened.seek(start)
        opened.write(b"\xff" * 64)
    assert len(run.part("train", 50, between)) == 5
    with pytest.raises(LossprintError, match="expected readable Parquet parts"):
        run.part("train", 50)
    # An older file: one row group, the default of pyarrow.
    pq.write_table(pa.Table.from_pandas(part.sort_values("sample"), preserve_index=False), file)
    assert run.part("train", 50, between, ["sample", "loss"]).column_names == ["sample", "loss"]
    assert len(run.part("train", 50, between)) == 5


def test_what_was_recorded_at_all_is_seen_without_statistics_too(tmp_path):
    for kind, known in (("bare", set()), ("late", {"margin", "predicted"}), ("norms", {"margin", "predicted", "el2n"})):
        run = nasty_run(tmp_path / kind, kind)
        assert run.known() == known
        for file in run.path.rglob("trajectories/split=train/*/*.parquet"):
            pq.write_table(pq.read_table(file, partitioning=None), file, write_statistics=False)
        assert run.known() == known


def test_tables_are_written_in_whole_row_groups(tmp_path):
    lengths = [0, 5, LOOKUP_ROWS, 1, 2 * LOOKUP_ROWS - 3, 10]
    ids = np.arange(sum(lengths))
    with rows_writer(tmp_path / "table.parquet") as append:
        for first, last in zip(np.cumsum([0, *lengths]), np.cumsum(lengths)):
            append(pa.table({"sample": ids[first:last], "value": ids[first:last] / 7}))
    with pq.ParquetFile(tmp_path / "table.parquet") as file:
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        assert sizes == [LOOKUP_ROWS] * 3 + [13]
        assert file.read()["sample"].to_pylist() == ids.tolist()
    with pytest.raises(RuntimeError), rows_writer(tmp_path / "other.parquet") as append:
        append(pa.table({"sample": ids}))
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]
