"""The whole path on real images: audit, score again, import, and what a run folder holds afterwards."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo
from helpers import plain_label_errors
from PIL import Image

from lossprint.audit import LossprintError, Recorder, open_run
from lossprint.audit.runs.run import STAGES
from lossprint.audit.runs.tables import FINDINGS, PAIRS
from lossprint.audit.workflow.audit import audit
from lossprint.audit.workflow.import_losses import import_losses
from lossprint.audit.workflow.score import score
from lossprint.scoring import trajectory

SCORE_COLUMNS = ["sample", "path", "label", "cld", "ltc", "csl", "aum", "curvature", "trace", "gradient_norm"]
SCORE_COLUMNS += ["label_error", "outlier"]
FURTHER_COLUMNS = ["triage", "rank_confidence", "forgetting", "el2n", "p_mean", "p_std"]


def test_a_run_holds_the_columns_of_the_contract(audited):
    run = open_run(audited)
    assert run.stages == list(STAGES)
    scores, findings, pairs = run.scores(), run.findings(), run.pairs()
    assert list(scores.columns) == [*SCORE_COLUMNS, "suggested_label", "suggested_probability", *FURTHER_COLUMNS]
    assert scores[FURTHER_COLUMNS].notna().all().all() and scores["rank_confidence"].between(0, 1).all()
    assert len(scores) == 300 and scores["sample"].is_monotonic_increasing
    assert scores[SCORE_COLUMNS[3:]].notna().all().all()
    assert scores["label_error"].between(0, 1).all() and scores["outlier"].between(0, 1).all()
    assert scores["cld"].between(-1, 1).all()
    assert tuple(findings.columns) == FINDINGS and tuple(pairs.columns) == PAIRS
    assert findings.groupby("kind")["rank"].min().eq(1).all()
    for split, count in (("train", 300), ("val", 45)):
        losses = run.trajectory(split).losses
        assert losses.shape == (6, count) and np.isfinite(losses).all() and losses.dtype == np.float32
    assert run.curvature_recorded() == [3, 6] and run.saved_checkpoints() == [1, 2, 3, 4, 5, 6]
    assert not list(audited.rglob("*.part")) and not (audited / "resume.safetensors").exists()


def test_the_model_learnt_and_the_scores_are_those_of_the_trajectories(audited):
    run = open_run(audited)
    train, val = run.trajectory("train"), run.trajectory("val")
    assert (val.predicted[-1] == val.labels).mean() > 0.9
    assert train.losses[-1].mean() < train.losses[0].mean()
    scores = run.scores()
    np.testing.assert_allclose(scores["csl"], train.losses.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scores["aum"], train.margins.mean(axis=0), rtol=1e-4, atol=1e-5)
    means = trajectory.class_means(val.losses, val.labels, 3)
    i = 123
    expected = np.corrcoef(np.diff(train.losses[:, i]), np.diff(means[:, train.labels[i]]))[0, 1]
    assert scores["cld"][i] == pytest.approx(expected, abs=1e-5)


def test_pairs_are_the_extreme_correlations(audited):
    run = open_run(audited)
    train, val = run.trajectory("train"), run.trajectory("val")
    sample = int(train.samples[7])
    correlation = np.array([np.corrcoef(train.losses[:, 7], q)[0, 1] for q in val.losses.T])
    pairs = run.pairs(sample)
    assert len(pairs) == 20 and set(pairs["partner_split"]) == {"val"}
    for scope, allowed in (("all", np.ones(45, bool)), ("class", val.labels == train.labels[7])):
        for side, sign in (("aligned", -1), ("conflicting", 1)):
            rows = pairs[(pairs["scope"] == scope) & (pairs["side"] == side)].sort_values("rank")
            assert rows["rank"].tolist() == [1, 2, 3, 4, 5]
            expected = sign * np.sort(sign * correlation[allowed])[:5]
            np.testing.assert_allclose(rows["correlation"], expected, atol=1e-5)


def test_scoring_again_gives_the_same_bytes(audited, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(audited, again)
    score(again)
    for name in ("scores.parquet", "findings.parquet", "pairs.parquet"):
        assert (again / name).read_bytes() == (audited / name).read_bytes()


def test_planted_faults_are_found(tmp_path):
    """Ten swapped labels among 300 easy images, one exact copy and one copy that is shifted by a pixel."""
    manifest = cut_demo(tmp_path / "data", 100, 15, ("bag", "trouser", "sandal"))
    table = pd.read_csv(manifest, dtype=str)
    truth = pd.read_csv("assets/demo/truth.csv", dtype=str, keep_default_na=False).set_index("path")
    clean = table[(table["split"] == "train") & (truth.loc[table["path"], "kind"] == "").to_numpy()].index
    wrong = clean[::25][:10]
    turn = {"bag": "trouser", "trouser": "sandal", "sandal": "bag"}
    table.loc[wrong, "label"] = table.loc[wrong, "label"].map(turn)
    image = Image.open(manifest.parent / table.loc[clean[5], "path"])
    image.save(manifest.parent / "images" / "copy.png", compress_level=1)
    shifted = Image.new(image.mode, image.size)
    shifted.paste(Image.open(manifest.parent / table.loc[clean[8], "path"]), (1, 0))
    shifted.save(manifest.parent / "images" / "shifted.png")
    table.loc[len(table)] = ["images/copy.png", table.loc[clean[5], "label"], "train"]
    table.loc[len(table)] = ["images/shifted.png", "bag", "train"]
    table.to_csv(manifest, index=False)
    run = audit(str(manifest), tmp_path / "run", epochs=8, curvature_checkpoints=1, quiet=True)
    scores, findings = run.scores(), run.findings()
    top = scores.nlargest(10, "label_error")
    assert len(set(top["path"]) & set(table.loc[wrong, "path"])) >= 8
    flagged = findings[findings["kind"] == "label_error"].set_index("path")
    hits = [path for path in table.loc[wrong, "path"] if path in flagged.index]
    original = {
        path: label
        for label in turn
        for path in table.loc[wrong, "path"]
        if turn[label] == dict(zip(table["path"], table["label"], strict=True))[path]
    }
    assert sum(flagged.loc[path, "suggested_label"] == original[path] for path in hits) >= 8
    exact = groups(findings, "duplicate")
    assert {"images/copy.png", table.loc[clean[5], "path"]} in exact
    near = groups(findings, "near_duplicate")
    assert any({"images/shifted.png", table.loc[clean[8], "path"]} <= group for group in near)


def test_resume_of_a_whole_run_does_nothing_and_contradictions_are_refused(audited, small_dataset, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(audited, out)
    before = (out / "run.json").read_bytes()
    audit(str(small_dataset), out, resume=True, quiet=True)
    assert (out / "run.json").read_bytes() == before
    with pytest.raises(LossprintError, match="--epochs 6"):
        audit(str(small_dataset), out, epochs=7, resume=True, quiet=True)
    with pytest.raises(LossprintError, match="--resume"):
        audit(str(small_dataset), out, quiet=True)
    assert (out / "run.json").read_bytes() == before


def test_own_losses_are_imported_and_scored_alike(audited, small_dataset, tmp_path):
    run = open_run(audited)
    train, val = run.trajectory("train"), run.trajectory("val")
    np.savez(
        tmp_path / "losses.npz",
        train_losses=train.losses.T,
        train_samples=train.samples,
        train_margins=train.margins.T,
        train_predicted=train.predicted.T,
        val_losses=val.losses.T,
        val_samples=val.samples,
    )
    imported = import_losses(tmp_path / "losses.npz", str(small_dataset), tmp_path / "run", quiet=True)
    assert imported.manifest["recording"] == "imported"
    for name in ("cld", "ltc", "csl", "aum"):
        np.testing.assert_allclose(imported.scores()[name], run.scores()[name], rtol=1e-5, atol=1e-6)
    # What the network mixes up on validation samples was not handed over, so there is no prior on pairs of labels.
    plain = plain_label_errors([(train, replace(val, margins=None, predicted=None))], len(run.classes))[0]
    np.testing.assert_allclose(imported.scores()["label_error"], plain.severity, rtol=1e-5, atol=1e-6)
    assert "curvature" not in imported.stages and imported.scores()["curvature"].isna().all()
    assert imported.scores()["suggested_label"].tolist() == run.scores()["suggested_label"].tolist()


def test_own_loop_end_to_end(small_dataset, tmp_path):
    """The Recorder in a loop of one's own, then `lossprint score`."""
    recorder = Recorder(tmp_path / "run", str(small_dataset))
    ids = open_ids(recorder)
    random = np.random.default_rng(0)
    for epoch in (1, 2, 3, 4):
        recorder.update(ids, random.gamma(2.0, 1.0 / epoch, len(ids)))
        recorder.end_checkpoint(epoch)
    recorder.finish()
    run = score(tmp_path / "run")
    assert len(run.scores()) == 300 and run.scores()["csl"].notna().all()
    assert run.scores()["aum"].isna().all()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["stages"] == ["record", "score", "find"]


def open_ids(recorder):
    return recorder.run.samples()["sample"].tolist()


def groups(findings, kind):
    """The paths of each finding of a kind."""
    return [set(paths) for _, paths in findings[findings["kind"] == kind].groupby("group")["path"]]


def test_streamed_images_give_the_same_run(tmp_path, monkeypatch):
    """A dataset that does not fit into memory is decoded as it goes: same losses, scores and duplicates."""
    from lossprint.audit.datasets import dataset as datasets

    manifest = cut_demo(tmp_path / "data", 40, 5)
    wishes = {"epochs": 2, "curvature_checkpoints": 1, "quiet": True}
    audit(str(manifest), tmp_path / "memory", **wishes)
    monkeypatch.setattr(datasets, "fits_in_memory", lambda *_: False)
    audit(str(manifest), tmp_path / "stream", **wishes)
    for file in (tmp_path / "memory").rglob("*.parquet"):
        name = file.relative_to(tmp_path / "memory")
        if name.name != "duplicates.parquet":  # thumbnails of 32 px instead of the network's 28
            assert file.read_bytes() == (tmp_path / "stream" / name).read_bytes(), name


def test_any_image_mode_and_a_torchvision_network(tmp_path):
    """Class folders without splits, images of many modes and sizes, one of them broken; mobilenet instead of small."""
    from PIL import Image

    random = np.random.default_rng(0)
    modes = ["L", "RGB", "RGBA", "P", "CMYK", "I;16", "1", "LA"]
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(16):
            side = 40 + 3 * i
            grey = Image.fromarray(random.integers(level - 30, level + 30, (side, side + i)).astype(np.uint8))
            mode = modes[i % len(modes)]
            image = Image.fromarray(np.asarray(grey, np.uint16) * 256) if mode == "I;16" else grey.convert(mode)
            image.save(tmp_path / "data" / label / f"{i:02d}.{'tif' if mode == 'CMYK' else 'png'}")
    (tmp_path / "data" / "dark" / "broken.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(LossprintError, match="outside the dataset"):
        audit(str(tmp_path / "data"), tmp_path / "data" / "run", quiet=True)
    run = audit(
        str(tmp_path / "data"),
        tmp_path / "run",
        model="mobilenet_v3_small",
        epochs=2,
        curvature_checkpoints=1,
        quiet=True,
    )
    assert run.manifest["dataset"]["counts"] == {"train": 28, "val": 4, "test": 0}
    assert run.unreadable()["path"].tolist() == ["dark/broken.png"]
    notes = " ".join(run.manifest["dataset"]["notes"])
    assert "validation" in notes and "1 of 33" in notes
    assert run.manifest["facts"]["record"]["size"] == 70  # the median longer side
    assert np.isfinite(run.trajectory("train").losses).all() and len(run.scores()) == 28


def rewrite(run, **changes):
    told = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(told | changes))


def test_an_audit_killed_between_recording_and_scoring_is_sent_back_to_audit(audited, small_dataset, tmp_path):
    """Scoring it alone would make a run without duplicates and with half of its curvature look whole."""
    out = tmp_path / "run"
    shutil.copytree(audited, out)
    rewrite(out, stages=["record"])
    shutil.rmtree(out / "curvature" / "checkpoint=00006")
    for name in ("embeddings.safetensors", "duplicates.parquet", "scores.parquet", "findings.parquet", "pairs.parquet"):
        (out / name).unlink()
    for call in (open_run, score):
        with pytest.raises(LossprintError, match="--resume"):
            call(out)
    audit(str(small_dataset), out, resume=True, quiet=True)
    for file in audited.rglob("*.*"):
        if file.name != "run.json":
            assert file.read_bytes() == (out / file.relative_to(audited)).read_bytes(), file


def test_a_recorders_run_gets_its_duplicates_when_it_is_scored(tmp_path):
    manifest = cut_demo(tmp_path / "data", 20, 3)
    table = pd.read_csv(manifest)
    shutil.copyfile(manifest.parent / table["path"][4], manifest.parent / "images" / "copy.png")
    table.loc[len(table)] = ["images/copy.png", table["label"][4], "train"]
    table.to_csv(manifest, index=False)
    recorder = Recorder(tmp_path / "run", str(manifest))
    for epoch in (1, 2, 3):
        recorder.update(open_ids(recorder), np.random.default_rng(epoch).random(len(table)))
        recorder.end_checkpoint(epoch)
    recorder.finish()
    assert {"images/copy.png", table["path"][4]} in groups(score(tmp_path / "run").findings(), "duplicate")


def test_frames_are_audited_out_of_fold_by_whole_sequences(tmp_path):
    """One sequence is drawn for validation, fewer than there are folds, and each fold's network is validated all the
    same; every sequence's losses come from the one network that did not see it."""
    random, rows = np.random.default_rng(0), ["path,label,sequence,frame"]
    for sequence in "abcde":
        for frame in range(8):
            pixels = random.integers(0, 80, (28, 28, 3), dtype=np.uint8)
            pixels[8:20, 8:20] += 150 * (frame >= 4)
            Image.fromarray(pixels).save(tmp_path / f"{sequence}{frame}.png")
            rows.append(f"{sequence}{frame}.png,{'xy'[frame >= 4]},{sequence},{frame}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    options = {"epochs": 3, "folds": 2, "curvature_checkpoints": 1, "quiet": True}
    run = audit(str(tmp_path / "labels.csv"), tmp_path / "run", **options)
    samples = run.samples().set_index("sample")
    assert samples.groupby("sequence")["split"].first().value_counts().to_dict() == {"train": 4, "val": 1}
    left_out = [
        set(samples.loc[fold.part("train", 3)["sample"].to_numpy(), "sequence"]) for fold in run.members("fold")
    ]
    assert [len(names) for names in left_out] == [2, 2] and not left_out[0] & left_out[1]
    assert all(len(fold.part("val", 3)) == 4 for fold in run.members("fold"))
    assert run.scores()["label_error"].notna().all()


def test_frames_of_one_sequence_are_no_duplicates_of_each_other(tmp_path):
    """Both sequences of train stand still, and a frame of one is in the other: only that is worth a look."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    shows = {"a": [0, 0, 0, 0], "b": [1, 1, 1, 0], "v": [2, 2, 2, 2]}
    rows = ["path,label,split,sequence,frame"]
    for sequence, pictures in shows.items():
        for frame, which in enumerate(pictures):
            Image.fromarray(noise[which]).save(tmp_path / f"{sequence}{frame}.png")
            split = "val" if sequence == "v" else "train"
            rows.append(f"{sequence}{frame}.png,{'xy'[frame % 2]},{split},{sequence},{frame}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    losses = {"train_losses": np.ones((8, 3)), "val_losses": np.ones((4, 3))}
    np.savez(tmp_path / "losses.npz", **losses, train_samples=np.arange(8), val_samples=np.arange(8, 12))
    run = import_losses(tmp_path / "losses.npz", tmp_path / "labels.csv", tmp_path / "run", quiet=True)
    pairs = run.duplicates()
    assert sorted(zip(pairs["sample"], pairs["partner"])) == [(at, 7) for at in range(4)]


@pytest.mark.parametrize("name", ["curvature/checkpoint=00003/rank-0.parquet", "embeddings.safetensors"])
def test_a_damaged_part_is_one_line_and_the_run_stays_whole(audited, tmp_path, name):
    out = tmp_path / "run"
    shutil.copytree(audited, out)
    (out / name).write_bytes((out / name).read_bytes()[:100])
    with pytest.raises(LossprintError, match="found:") as caught:
        score(out)
    assert "\n" not in str(caught.value)
    assert open_run(out).stages == list(STAGES)


def test_an_image_that_breaks_between_kill_and_resume_is_noticed(tmp_path):
    manifest = cut_demo(tmp_path / "data", 20, 3)
    recorder = Recorder(tmp_path / "run", str(manifest))
    broken = manifest.parent / recorder.run.samples()["path"][3]
    broken.write_bytes(b"x" * broken.stat().st_size)
    with pytest.raises(LossprintError, match=r"samples that .* was begun with"):
        Recorder(tmp_path / "run", str(manifest), resume=True)


def test_imported_runs_have_the_same_column_types(audited, small_dataset, tmp_path):
    run = open_run(audited)
    arrays = {f"{split}_losses": run.trajectory(split).losses.T for split in ("train", "val")}
    np.savez(tmp_path / "losses.npz", **arrays)
    imported = import_losses(tmp_path / "losses.npz", str(small_dataset), tmp_path / "run", quiet=True)
    assert imported.scores().dtypes.to_dict() == run.scores().dtypes.to_dict()


def test_seeds_and_folds_rank_label_errors_and_resume_to_the_same_bytes(tmp_path):
    dataset = str(cut_demo(tmp_path / "data", 21, 4))
    options = {"epochs": 2, "curvature_checkpoints": 0, "quiet": True}
    plain = audit(dataset, tmp_path / "plain", **options)
    seeds = audit(dataset, tmp_path / "seeds", seeds=3, **options)
    other = audit(dataset, tmp_path / "other", seed=1, **options)
    assert [member.name for member in seeds.members("seed")] == ["seed=00001", "seed=00002"]
    # The second training is that of a run with the next seed, and what does not rest on the ranking is the first's.
    np.testing.assert_array_equal(seeds.members("seed")[0].trajectory().losses, other.trajectory().losses)
    pd.testing.assert_series_equal(seeds.scores()["csl"], plain.scores()["csl"])
    assert (seeds.scores()["label_error"] != plain.scores()["label_error"]).any()

    folds = audit(dataset, tmp_path / "folds", folds=3, **options)
    recorded = [fold.trajectory().losses for fold in folds.members("fold")]
    assert (sum(np.isfinite(losses) for losses in recorded) == 1).all()  # every sample once, by a network that ...
    rows = [np.isfinite(losses[0]) for losses in recorded]
    labels = folds.trajectory().labels
    assert all(np.bincount(labels[row]).max() <= 7 for row in rows)  # ... left a third of each class out
    assert folds.scores()["label_error"].between(0, 1).all()
    assert (folds.scores()["label_error"] != plain.scores()["label_error"]).any()

    # Cut off before the last fold was whole: it is trained again, the others stand.
    cut = tmp_path / "cut"
    shutil.copytree(folds.path, cut)
    manifest = json.loads((cut / "run.json").read_text())
    (cut / "run.json").write_text(json.dumps({**manifest, "stages": []}))
    shutil.copy(_state_of(folds, tmp_path), cut / "resume.safetensors")
    shutil.rmtree(cut / "members" / "fold=002")
    audit(dataset, cut, folds=3, resume=True, **options)
    pd.testing.assert_frame_equal(open_run(cut).scores(), folds.scores())
    with pytest.raises(LossprintError, match="expected --folds 3"):
        audit(dataset, cut, folds=2, resume=True, **options)


def _state_of(run, folder):
    """The file from which a run goes on after its last epoch, which a finished run has removed."""
    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.training import loading, train

    loaded, size = loading.load(run.manifest["asked"], True)
    recorder = Recorder(folder / "again", loaded.dataset, seed=0)
    train.train(recorder, loading.inputs_of(loaded, size), model="small", epochs=2, seed=0, device="cpu", quiet=True)
    return folder / "again" / "resume.safetensors"


def test_el2n_is_recorded_beside_the_loss(audited, tmp_path):
    run = open_run(audited)
    part = run.part("train", 6).to_pandas()
    # p_y alone bounds the distance: (1 - p_y) away on its own axis, at most as far again on the others together.
    away = 1 - np.exp(-part["loss"].to_numpy(float))
    assert (part["el2n"] >= away - 1e-5).all() and (part["el2n"] <= np.sqrt(2) * away + 1e-5).all()
    norms = run.trajectory("train").norms
    np.testing.assert_allclose(run.scores()["el2n"], norms.mean(axis=0), rtol=1e-5)
    # A part without the column, as older runs have it, reads as before.
    old = tmp_path / "old"
    shutil.copytree(audited, old)
    copy = open_run(old)
    for checkpoint in copy.recorded():
        copy.write_part("train", checkpoint, copy.part("train", checkpoint).drop_columns(["el2n"]))
    assert open_run(old).trajectory("train").norms is None
    scores = score(old).scores()
    assert scores["el2n"].isna().all()
    np.testing.assert_allclose(scores["csl"], run.scores()["csl"])
