"""Video files become frames at the right times with the right labels; what does not decode is refused beforehand."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from films import film
from PIL import Image

from lossprint.audit.cli import main as cli
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.export.applied import applied
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError
from lossprint.audit.video import decode
from lossprint.audit.video.segments import corrected_segments

av = pytest.importorskip("av")


def number(file: Path) -> int:
    """Which picture of a film it is."""
    bars = np.asarray(Image.open(file).convert("L").resize((54, 1)))[0]
    return sum(int(bars[4 + 9 * bit] > 127) << bit for bit in range(6))


def segments(folder: Path, rows: str, header: str = "sequence,start,end,label") -> Path:
    (folder / "phases.csv").write_text(f"{header}\n{rows}")
    return folder / "phases.csv"


@pytest.fixture
def films(tmp_path) -> Path:
    """Two films of 3 s, 20 pictures a second."""
    folder = tmp_path / "data"
    folder.mkdir()
    film(folder / "a.mp4")
    film(folder / "b.MP4")
    return folder


ROWS = "a,0,1.5,cut\na,1.5,3,sew\nb,0:00,0:02,sew\nb,0:02,0:03,cut\n"


def decoded(path: Path, out: Path, rate: float | None = None) -> pd.DataFrame:
    manifest = Path(decode.prepared(str(path), out, rate, quiet=True))
    assert manifest == out / "frames" / "labels.csv"
    table = pd.read_csv(manifest)
    table["shown"] = [number(out / "frames" / one) for one in table["path"]]
    return table


def message(path: Path, out: Path, rate: float | None = None) -> str:
    with pytest.raises(LossprintError) as caught:
        decode.prepared(str(path), out, rate, quiet=True)
    assert "\n" not in str(caught.value)
    assert not (out / "frames" / "labels.csv").exists()
    return str(caught.value)


# ---------------------------------------------------------------------------------------- which frames, which labels


def test_frames_are_those_at_their_times(films, tmp_path):
    found = decoded(segments(films, ROWS), tmp_path / "run", 4)
    assert found["sequence"].tolist() == ["a"] * 12 + ["b"] * 12
    assert found["frame"].tolist() == [*range(12)] * 2
    assert found["seconds"].tolist() == [k / 4 for k in range(12)] * 2
    assert found["shown"].tolist() == found["source_frame"].tolist() == [5 * k for k in range(12)] * 2
    assert found["label"].tolist() == ["cut"] * 6 + ["sew"] * 6 + ["sew"] * 8 + ["cut"] * 4
    assert found["path"][13] == "images/b/000001.jpg" and "split" not in found


def test_one_frame_a_second_is_the_default(films, tmp_path):
    assert decoded(segments(films, ROWS), tmp_path / "run")["shown"].tolist() == [0, 20, 40] * 2


def test_segments_in_frames_are_exact_at_any_rate(films, tmp_path):
    rows = "a,0,14,cut,train\na,15,59,sew,train\nb,5,20,cut,test\n"
    header = "sequence,start_frame,end_frame,label,split"
    found = decoded(segments(films, rows, header), tmp_path / "run", 20)
    assert found["label"].tolist() == ["cut"] * 15 + ["sew"] * 45 + ["cut"] * 16
    assert found["shown"].tolist() == [*range(60), *range(5, 21)]
    assert set(found.loc[found["sequence"] == "b", "split"]) == {"test"}


def test_frames_in_no_segment_are_left_out_and_said(films, tmp_path):
    path = segments(films, "a,0.5,1,cut\nb,1,1.1,sew\nb,1.11,1.2,cut\n")
    found = decoded(path, tmp_path / "run", 4)
    assert found["shown"].tolist() == [10, 15, 20]
    (films / "more.avi").touch()  # nobody asks for it
    notes = open_dataset_notes(tmp_path / "run")
    assert "left out, because in no segment: 21 of 24 frames" in notes
    assert "1 of 3 segments hold no frame at this rate, such as in line 4" in notes


def open_dataset_notes(run: Path) -> str:
    from lossprint.audit.datasets.readers.manifests import read_manifest

    return "; ".join(read_manifest(run / "frames" / "labels.csv").notes)


@pytest.mark.parametrize(
    ("name", "codec"), [("x.avi", "mpeg4"), ("x.mkv", "mpeg4"), ("x.mov", "mpeg4"), ("x.webm", "libvpx"),
                        ("x.mpg", "mpeg2video")],
)  # fmt: skip
def test_other_containers(tmp_path, name, codec):
    """Matroska rounds times to milliseconds; MPEG starts later than 0 and does not say how long it is."""
    film(tmp_path / name, fps=30, codec=codec)
    found = decoded(segments(tmp_path, "x,0,1,cut\nx,1,2,sew\n"), tmp_path / "run", 15)
    assert found["shown"].tolist() == found["source_frame"].tolist() == [2 * k for k in range(30)]


def test_a_varying_frame_rate_is_sampled_by_time(tmp_path):
    """A picture stays until the next one: 10 in the first second, one for two seconds, 20 in the last."""
    times = [*range(0, 1000, 100), 1000, *range(3000, 4000, 50)]
    film(tmp_path / "x.mkv", len(times), times=times)
    found = decoded(segments(tmp_path, "x,0,2,cut\nx,2,4,sew\n"), tmp_path / "run", 5)
    shown = [max(i for i, time in enumerate(times) if time <= 200 * k) for k in range(20)]
    assert found["shown"].tolist() == found["source_frame"].tolist() == shown
    assert found["label"].tolist() == ["cut"] * 10 + ["sew"] * 10


def test_frames_are_small_and_in_shape(tmp_path):
    film(tmp_path / "x.mp4", 10, size=(640, 360))
    decoded(segments(tmp_path, "x,0,0.2,cut\nx,0.2,0.5,sew\n"), tmp_path / "run", 4)
    assert Image.open(tmp_path / "run/frames/images/x/000000.jpg").size == (256, 144)


def test_a_turned_video_is_turned_back(tmp_path):
    """A telephone held upright writes lying pictures and a matrix that turns them."""

    def left_bright(i):
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:, :16] = 255
        return picture

    file = film(tmp_path / "x.mp4", 10, size=(64, 32), draw=left_bright)
    content = bytearray(file.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # version 0 of the box
    turned = [0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30]  # by 90 degrees, clockwise
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4) for value in turned)
    file.write_bytes(content)
    decoded(segments(tmp_path, "x,0,0.2,cut\nx,0.2,0.5,sew\n"), tmp_path / "run", 4)
    image = np.asarray(Image.open(tmp_path / "run/frames/images/x/000000.jpg").convert("L"))
    assert image.shape == (64, 32)
    assert image[:12].mean() > 200 and image[20:].mean() < 50  # what was left is on top


def test_decoding_twice_gives_the_same_bytes(films, tmp_path):
    path = segments(films, ROWS)
    for name in ("one", "two"):
        decoded(path, tmp_path / name, 4)
    one, two = (sorted((tmp_path / name / "frames").rglob("*.[jc]*")) for name in ("one", "two"))
    assert len(one) == 24 + 2 + 3  # images, video.json, tables
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


# ---------------------------------------------------------------------------------------------- cut off, and again


def test_what_is_decoded_whole_is_not_decoded_again(films, tmp_path, monkeypatch):
    path, out = segments(films, ROWS), tmp_path / "run"
    done, sample = [], decode._sample

    def killed(found, one, *rest):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(one.sequence)
        return sample(found, one, *rest)

    monkeypatch.setattr(decode, "_sample", killed)
    with pytest.raises(KeyboardInterrupt):
        decode.prepared(str(path), out, 4, quiet=True)
    assert sorted(file.name for file in (out / "frames" / "images").iterdir()) == ["a"]
    monkeypatch.setattr(
        decode, "_sample", lambda found, one, *rest: (done.append(one.sequence), sample(found, one, *rest))[1]
    )
    first = decoded(path, out, 4)
    assert done == ["a", "b"]
    path.write_text(path.read_text().replace("cut", "tie"))  # other labels of the same frames
    again = decoded(path, out, 4)
    assert done == ["a", "b"] and again["label"].tolist() == first["label"].replace("cut", "tie").tolist()
    assert len(decoded(path, out, 2)) == 12 and done == ["a", "b", "a", "b"]
    film(films / "b.MP4", 61)
    decoded(path, out, 2)
    assert done[4:] == ["b"]


def test_other_files_in_the_way_are_left_alone(films, tmp_path):
    path = segments(films, ROWS)
    (tmp_path / "run" / "frames").mkdir(parents=True)
    (tmp_path / "run" / "frames" / "mine.txt").touch()
    assert "found other files" in message(path, tmp_path / "run")
    assert os.listdir(tmp_path / "run" / "frames") == ["mine.txt"]
    (tmp_path / "run2").mkdir()
    (tmp_path / "run2" / "mine.txt").touch()
    assert "found other files" in message(path, tmp_path / "run2")


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ("a,0,2,cut\nc,0,1,sew\n", ["'c'", "line 3", "found none"]),
        ("a,0,2,cut\na,2,5,sew\n", ["a.mp4", "3.00 s", "5 s in line 3"]),
        ("a,0,20,cut\na,20,59,sew\n", ["20 s in line 2", "start_frame and end_frame"]),
    ],
)
def test_segments_that_do_not_fit_the_videos(films, tmp_path, rows, parts):
    found = message(segments(films, rows), tmp_path / "run")
    assert all(part in found for part in parts) and "phases.csv" in found


def test_a_frame_past_the_end(films, tmp_path):
    path = segments(films, "a,0,40,cut\na,41,99,sew\n", "sequence,start_frame,end_frame,label")
    found = message(path, tmp_path / "run", 4)
    assert "60 frames" in found and "99 in line 3" in found


def test_up_to_one_step_past_the_end_is_none_the_worse(films, tmp_path):
    assert len(decoded(segments(films, "a,0,2,cut\na,2,3.9,sew\n"), tmp_path / "run")) == 3


def test_two_files_of_one_name(films, tmp_path):
    shutil.copy(films / "a.mp4", films / "a.mov")
    assert "a.mov and a.mp4" in message(segments(films, ROWS), tmp_path / "run")
    rows = ROWS.replace("a,", "a.mp4,")  # says which
    assert set(decoded(segments(films, rows), tmp_path / "run2")["sequence"]) == {"a.mp4", "b"}


@pytest.mark.parametrize("content", [b"", b"sequence,start\n" * 50, b"ffconcat version 1.0\nfile a.mp4\n", None])
def test_what_is_no_video(films, tmp_path, content):
    """None stands for a film without its end, where an mp4 has its table of contents."""
    whole = (films / "b.MP4").read_bytes()
    (films / "b.MP4").write_bytes(whole[: len(whole) // 2] if content is None else content)
    found = message(segments(films, ROWS), tmp_path / "run")
    assert "expected a video that can be decoded at" in found and "b.MP4" in found
    assert not (tmp_path / "run").exists()


def test_a_video_that_is_cut_off(tmp_path):
    rng = np.random.default_rng(0)
    file = film(tmp_path / "x.mkv", draw=lambda i: rng.integers(0, 256, (32, 54, 3), np.uint8))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = message(segments(tmp_path, "x,0,1,cut\nx,1,3,sew\n"), tmp_path / "run", 10)
    assert "x.mkv" in found and "3 s in line 3" in found and "cut off" in found


def test_a_folder_or_a_sound_for_a_video(films, tmp_path):
    (films / "b.MP4").unlink()
    (films / "b.mov").mkdir()
    assert "no file" in message(segments(films, ROWS), tmp_path / "run")
    (films / "b.mov").rmdir()
    with av.open(str(films / "b.mov"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    assert "without pictures" in message(segments(films, ROWS), tmp_path / "run")


def test_without_pyav_it_says_how_to_get_it(films, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    assert "pip install 'lossprint[video]'" in message(segments(films, ROWS), tmp_path / "run")


def test_segments_are_no_manifest_of_images(films):
    with pytest.raises(LossprintError, match="lossprint audit"):
        open_dataset(segments(films, ROWS))


def test_a_rate_is_of_videos(tmp_path):
    with pytest.raises(LossprintError, match="--rate only with segments"):
        decode.asked(str(tmp_path), 2)
    with pytest.raises(LossprintError, match="found 0"):
        decode.asked(str(tmp_path), 0)


# ------------------------------------------------------------------------------------------------------ end to end


def test_an_audit_of_videos(tmp_path, capsys):
    """Decode, train, find; resumed, moved and corrected."""
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    rows = ""
    for name in "pqrs":
        film(data / f"{name}.mp4", 40)
        rows += f"{name},0,1.25,cut\n{name},1.25,2,sew\n"
    path = segments(data, rows)
    command = ["audit", str(path), "--out", str(out), "--rate", "8", "--epochs", "1", "--curvature-checkpoints", "0"]
    assert cli.main([*command, "--folds", "0", "--device", "cpu", "--quiet"]) == 0
    assert "decoded 4 videos at 8 frames a second: 64 frames" in capsys.readouterr().out
    run = open_run(out)
    assert run.manifest["asked"]["rate"] == 8 and run.manifest["asked"]["dataset"] == str(path)
    assert run.manifest["dataset"]["source"] == str(out / "frames" / "labels.csv")
    assert json.loads((out / "run.json").read_text())["dataset"]["source"] == "frames/labels.csv"
    assert run.samples().groupby("sequence")["split"].nunique().max() == 1

    (data / "p.mp4").unlink()  # what is decoded is not needed any more
    assert cli.main([*command, "--folds", "0", "--resume"]) == 0
    assert cli.main(["audit", str(path), "--out", str(out), "--resume", "--rate", "2"]) == 2
    assert "--rate 8" in capsys.readouterr().err

    moved = open_run(out.rename(tmp_path / "moved"))
    assert Path(moved.manifest["dataset"]["source"]) == tmp_path / "moved" / "frames" / "labels.csv"
    table = applied(moved).table
    table.loc[(table["sequence"] == "q") & table["given_frame"].isin((8, 9)), ["label", "change"]] = "sew", "relabelled"
    found = corrected_segments(moved, table)
    assert [",".join(row) for row in found.itertuples(index=False)] == (
        rows.replace("q,0,1.25", "q,0,1").replace("q,1.25", "q,1").splitlines()
    )


def test_a_killed_audit_goes_on(tmp_path, monkeypatch):
    """Killed after decoding: the videos may have gone since, the segments must not have changed."""
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for name in "pqr":
        film(data / f"{name}.mp4", 40)
    path = segments(data, "".join(f"{name},0,1,cut\n{name},1,2,sew\n" for name in "pqr"))
    from lossprint.audit.training import train

    command = ["audit", str(path), "--out", str(out), "--rate", "8", "--epochs", "1", "--curvature-checkpoints", "0"]
    command += ["--folds", "0", "--quiet", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(train, "train", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        assert cli.main(command) == 1
    (data / "p.mp4").unlink()
    whole = path.read_text()
    path.write_text(whole.replace("cut", "tie"))
    assert cli.main([*command, "--resume"]) == 2
    path.write_text(whole)
    assert cli.main([*command, "--resume"]) == 0
    assert len(open_run(out).samples()) == 48
