"""`lossprint verify`, checksums, sealed tensors and page checksums: a damaged file is named, and never scored."""

import json
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from lossprint.audit.cli.main import main
from lossprint.audit.findings.find import find_run
from lossprint.audit.findings.score import score_run
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import checksums, tensors
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.verify import verify
from lossprint.audit.types import LossprintError

PART = "trajectories/split=train/checkpoint=00002/rank-0.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A scored run of a Recorder: 40 training and 10 validation samples, 3 checkpoints."""
    out = tmp_path_factory.mktemp("made") / "run"
    rows = [(i, f"{i:02d}.png", "ab"[i % 2], "val" if i >= 40 else "train") for i in range(50)]
    recorder = Recorder(out, pd.DataFrame(rows, columns=["sample", "path", "label", "split"]))
    for checkpoint in (1, 2, 3):
        logits = np.random.default_rng(checkpoint).normal(size=(50, 2))
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(50), np.arange(50) % 2]
        recorder.update(np.arange(50), losses, logits)
        recorder.end_checkpoint(checkpoint)
    return find_run(score_run(recorder.finish())).path


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def flip_a_loss(part):
    """Change a bit in the data of the losses."""
    column = pq.ParquetFile(part).metadata.row_group(0).column(1)
    flipped = bytearray(part.read_bytes())
    flipped[column.data_page_offset + column.total_compressed_size - 3] ^= 4
    part.write_bytes(flipped)


def said(run, capsys, *more) -> tuple[int, list[str]]:
    status = main(["verify", str(run), *more])
    return status, capsys.readouterr().out.splitlines()


def test_a_whole_run_is_whole_wherever_it_lies(run, capsys):
    shutil.move(run, run.with_name("elsewhere"))
    status, lines = said(run.with_name("elsewhere"), capsys)
    files = checksums.present(run.with_name("elsewhere"))
    assert status == 0 and len(lines) == 1
    assert f"whole; {len(files)} files compared by their checksums" in lines[0]
    assert sorted(checksums.listed(run.with_name("elsewhere"))) == files
    assert said(run.with_name("elsewhere"), capsys, "--quick")[0] == 0


def test_the_list_holds_sizes_and_digests_of_blake2b(run):
    import hashlib

    for name, (size, digest) in checksums.listed(run).items():
        content = (run / name).read_bytes()
        assert (size, digest) == (len(content), hashlib.blake2b(content, digest_size=16).hexdigest())


@pytest.mark.parametrize("name", [PART, "scores.parquet", "samples.parquet", "findings.parquet"])
def test_missing_cut_and_changed_files_are_named(run, capsys, name):
    content = (run / name).read_bytes()
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    for bad, word, quick in (
        (content[:-9], "damaged", True),
        (bytes(changed), "damaged", False),
        (None, "missing", True),
    ):
        (run / name).unlink() if bad is None else (run / name).write_bytes(bad)
        status, lines = said(run, capsys)
        assert status == 2 and any(line.startswith(f"{word}: {name}: expected ") for line in lines[:-1])
        assert "not whole" in lines[-1]
        assert (said(run, capsys, "--quick")[0] == 2) is quick


def test_every_flipped_byte_of_a_part_is_refused(run):
    """Also where the pages' own checksums would not tell: in headers and statistics."""
    before, part = (run / "scores.parquet").read_bytes(), (run / PART).read_bytes()
    opened, rng = open_run(run), np.random.default_rng(0)
    for at in range(0, len(part), 61):
        flipped = bytearray(part)
        flipped[at] ^= 1 << int(rng.integers(8))
        (run / PART).write_bytes(flipped)
        with pytest.raises(LossprintError, match=f"expected the bytes that were written.*{PART}.*lossprint verify"):
            score_run(opened)
    assert (run / "scores.parquet").read_bytes() == before and open_run(run).stages == ["record", "score", "find"]
    (run / PART).write_bytes(part)
    assert find_run(score_run(opened)).stages == ["record", "score", "find"]
    assert (run / "scores.parquet").read_bytes() == before


def test_pages_carry_checksums_that_readers_look_at(run):
    flip_a_loss(run / PART)
    with pytest.raises(LossprintError, match="expected readable Parquet parts"):
        open_run(run).part("train", 2)
    for name in ("scores", "pairs", "findings", "samples"):
        with pq.ParquetFile(run / f"{name}.parquet", page_checksum_verification=True) as file:
            file.read()


def test_what_a_program_writes_again_is_not_called_damaged(run):
    opened = open_run(run)
    opened.write_part("train", 2, opened.part("train", 2).slice(0, 39))
    assert PART not in checksums.listed(run)
    found = verify(run)
    assert not found.whole and [(line.word, line.where) for line in found.lines] == [
        ("damaged", PART.rpartition("/")[0])
    ]
    assert "expected 40 samples, found 39" in found.lines[0].text
    scored = score_run(opened)
    assert PART in checksums.listed(run)  # listed again with the stage after it
    assert scored.scores()["csl"].isna().sum() == 1


def test_taken_back_stages_are_not_compared(run):
    opened = open_run(run).reopen("score")
    assert {checksums.stage_of(name) for name in checksums.listed(run)} == {"record"}
    (run / "scores.parquet").write_bytes(b"half")
    found = verify(run)
    assert ("damaged", "scores.parquet") in [(line.word, line.where) for line in found.lines]
    unfinished = [line for line in found.lines if line.word == "unfinished"]
    assert len(unfinished) == 1 and f"lossprint score {run}" in unfinished[0].text
    find_run(score_run(opened))
    assert verify(run).whole


def test_runs_of_older_versions_are_read_instead(run, capsys):
    (run / checksums.LIST).unlink()
    status, lines = said(run, capsys)
    assert status == 0 and lines[0].startswith("note: .: no checksums") and "0 files compared" in lines[-1]
    flip_a_loss(run / PART)
    status, lines = said(run, capsys)
    assert status == 2 and PART.rpartition("/")[0] in lines[0]
    (run / checksums.LIST).write_text("{")
    assert said(run, capsys)[1][0].startswith("damaged: checksums.json: expected sizes and digests")


def test_what_does_not_belong_together(run, capsys):
    (run / checksums.LIST).unlink()
    folder = run / "trajectories" / "split=val"
    shutil.rmtree(folder / "checkpoint=00003")
    stale = pq.read_table(run / PART, partitioning=None).slice(0, 5)
    pq.write_table(stale, (run / PART).with_name("rank-3.parquet"))
    other = (run / PART).parent.with_name("checkpoint=00007")
    other.mkdir()
    pq.write_table(stale, other / "rank-1.parquet")
    ids = pa.array(np.arange(100, 140))
    first = run / PART.replace("00002", "00001")
    pq.write_table(pq.read_table(first, partitioning=None).set_column(0, "sample", ids), first)
    (run / ".scores.parquet.x.part").write_bytes(b"1")
    pq.write_table(pq.read_table(run / "scores.parquet").slice(3), run / "scores.parquet")
    status, lines = said(run, capsys)
    text = "\n".join(lines)
    assert status == 2
    for line in (
        "missing: trajectories/split=val/checkpoint=00003: expected checkpoint 3 of train and val, found it of train",
        "damaged: trajectories/split=train/checkpoint=00002: expected each sample once, found 5 twice in 2 files",
        "unfinished: trajectories/split=train/checkpoint=00007: expected rank-0.parquet beside rank-1.parquet",
        "damaged: trajectories/split=train/checkpoint=00001: expected samples that samples.parquet has in this split",
        "left over: .scores.parquet.x.part",
        "damaged: scores.parquet: expected 40 training samples, found 37",
    ):
        assert line in text


def test_decisions_and_what_came_later_are_read(run, capsys):
    with open_reviews(open_run(run)) as reviews:
        reviews.add(finding="outlier:5", sample=5, decision="exclude", reviewer="ann")
    (run / "evaluation.parquet").write_bytes(b"PAR1 no more")
    assert [line.partition(": expected")[0] for line in said(run, capsys)[1][:-1]] == ["damaged: evaluation.parquet"]
    (run / "evaluation.parquet").unlink()
    assert said(run, capsys)[0] == 0
    with sqlite3.connect(run / "reviews.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray((run / "reviews.db").read_bytes())
    content[4096:8192] = b"x" * 4096
    (run / "reviews.db").write_bytes(content)
    assert said(run, capsys)[1][0].startswith("damaged: reviews.db: expected a ")


def test_a_half_written_run_says_how_to_go_on(tmp_path, capsys):
    rows = [(i, f"{i}.png", "ab"[i % 2], "val" if i > 5 else "train") for i in range(8)]
    recorder = Recorder(tmp_path / "run", pd.DataFrame(rows, columns=["sample", "path", "label", "split"]))
    recorder.update(np.arange(8), np.ones(8))
    recorder.end_checkpoint(1)
    status, lines = said(tmp_path / "run", capsys)
    assert status == 2 and lines[0].startswith("unfinished: .: of the stages record, curvature")
    assert "Recorder(..., resume=True)" in lines[0] and len(lines) == 2


def test_sealed_tensors(tmp_path):
    plain = save({"samples": np.arange(5), "vectors": np.ones((5, 3), np.float32)}, metadata={"checkpoint": "3"})
    file = tmp_path / "x.safetensors"
    file.write_bytes(plain)
    assert tensors.check_seal(file) is False
    data = tensors.sealed(plain)
    file.write_bytes(data)
    assert tensors.check_seal(file) is True and int.from_bytes(data[:8], "little") % 8 == 0
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["checkpoint"] == "3"
    refused = 0
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 2
        file.write_bytes(flipped)
        try:
            tensors.check_seal(file)
            found = load_file(file)
        except (OSError, SafetensorError):
            refused += 1
        else:  # a seal of another name is none, padding is nothing; the tensors are the same
            assert found["samples"].tolist() == list(range(5)) and (found["vectors"] == 1).all()
    assert refused > len(data) - 3 * len(tensors.SEAL)


def test_a_damaged_training_state_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    from lossprint.audit.runs.run import Run

    run = Run(tmp_path, {"stages": []})
    run.write_state(3, {"w": torch.arange(100.0)})
    assert run.read_state()[0] == 3
    file = tmp_path / "resume.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(LossprintError, match=r"expected weights in .*other bytes than were written"):
        run.read_state()


def test_verify_needs_a_run_and_no_torch(made, tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert "run.json" in capsys.readouterr().err
    program = "import sys\nfrom lossprint.audit.cli.main import main\n"
    program += "sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program, "verify", str(made)], capture_output=True).returncode == 0
