"""Links, pipes and devices in a run folder: nothing is read, written or removed where they lead."""

import os
import shutil
import sqlite3

import pytest
from helpers import make_run

from lossprint.audit.cli.main import main
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.sync import sync
from lossprint.audit.types import LossprintError

LINKED = [
    "selections",
    "members",
    ".scoring",
    "exports",
    "curvature/checkpoint=00099",
    "trajectories/split=train/checkpoint=00099",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def precious(tmp_path):
    """A folder of the user's, with a file that looks like a part."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "rank-1.parquet").write_text("mine")
    return tmp_path / "precious"


@pytest.mark.parametrize("name", LINKED)
def test_a_folder_elsewhere_is_left_alone(name, made, precious, tmp_path, capsys):
    run = shutil.copytree(made.path, tmp_path / "run")
    (run / name).parent.mkdir(exist_ok=True, parents=True)
    (run / name).symlink_to(precious)
    for command in (["score", run], ["verify", run], ["export", "findings", run, "--out", tmp_path / "f.csv"]):
        assert main([str(word) for word in command]) == 2
        assert "found the link" in capsys.readouterr().err
    with pytest.raises(LossprintError, match="found the link"):
        Recorder(run, made.manifest["dataset"]["source"], resume=True)
    assert os.listdir(precious) == ["rank-1.parquet"] and os.path.islink(run / name)


@pytest.mark.parametrize("name", ["findings.parquet", "scores.parquet", "reviews.db", "curvature/pipe"])
def test_a_pipe_is_not_waited_for(name, made, tmp_path):
    run = shutil.copytree(made.path, tmp_path / "run")
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    with pytest.raises(LossprintError, match="found the pipe or device"):
        open_run(run)


def test_the_run_itself_may_be_a_link_and_images_in_it_may_be_many(made, tmp_path):
    run = shutil.copytree(made.path, tmp_path / "run")
    (run / "exports").mkdir()
    (run / "exports" / "image.png").symlink_to("/etc/hostname")  # what was taken out is read by nobody here
    (tmp_path / "link").symlink_to(run)
    assert len(open_run(tmp_path / "link").findings())


def test_what_a_store_has_beside_a_run_is_not_copied(made, tmp_path):
    """A log of SQLite's there would be played into one's own decisions; hidden files are none of a run's."""
    store, here = tmp_path / "store", tmp_path / "here"
    url = f"file://{store}"
    with open_reviews(open_run(shutil.copytree(made.path, tmp_path / "run"))) as kept:
        kept.add(finding="label_error:1", sample=1, decision="keep", reviewer="ann")
    sync(tmp_path / "run", url)
    sync(url, here)
    for name in ("reviews.db-wal", "reviews.db-journal", ".bashrc", ".git/hooks/post-checkout", "selections/.x"):
        (store / name).parent.mkdir(exist_ok=True, parents=True)
        (store / name).write_text("hostile")
    (store / "further.parquet").write_bytes((store / "unreadable.parquet").read_bytes())
    assert sync(url, here).files == 1
    assert not any(file.read_bytes() == b"hostile" for file in here.rglob("*") if file.is_file())
    with open_reviews(open_run(here)) as kept:
        assert kept.history()["decision"].tolist() == ["keep"]


def test_a_store_s_database_computes_nothing(made, tmp_path):
    run = shutil.copytree(made.path, tmp_path / "run")
    with open_reviews(open_run(run)) as kept:
        kept.add(finding="label_error:1", sample=1, decision="keep", reviewer="ann")
    url = f"file://{tmp_path / 'store'}"
    sync(run, url)
    connection = sqlite3.connect(tmp_path / "store" / "reviews.db")
    connection.execute("ALTER TABLE reviews ADD COLUMN x TEXT GENERATED ALWAYS AS (hex(zeroblob(400000000))) VIRTUAL")
    connection.commit()
    connection.close()
    with pytest.raises(LossprintError, match="own tables"):
        sync(url, tmp_path / "here")
    assert not (tmp_path / "here").exists()
