"""The generated run that the dashboard is measured with: whole, as planted, and made only once."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import benchmark

from lossprint.audit.datasets.dataset import image_reader
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.tables import FINDINGS, PAIRS
from lossprint.audit.scores import SCORES


@pytest.fixture(scope="module")
def generated():
    return benchmark("generated_run")


@pytest.fixture(scope="module")
def made(generated, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("generated") / "gen"
    return generated.make(folder, 1000, validation=200, checkpoints=6)


def test_the_tables_are_those_of_a_run(made):
    run = open_run(made)
    samples, scores, pairs = run.samples(), run.scores(), run.pairs()
    assert samples["split"].value_counts().to_dict() == {"train": 1000, "val": 200}
    assert samples["path"].is_unique and len(scores) == 1000
    of_images = [name for name in SCORES if not name.startswith(("sequence_", "head_", "ifd", "response_"))]
    assert set(of_images) <= set(scores) and not scores[of_images].isna().all().any()
    assert tuple(pairs) == PAIRS and pairs["sample"].is_monotonic_increasing and len(pairs) == 20 * 1000
    assert tuple(run.findings()) == FINDINGS
    assert set(run.findings()["kind"]) == {"label_error", "duplicate", "near_duplicate", "outlier"}
    assert run.trajectory("train").losses.shape == (6, 1000) and len(run.duplicates()) == 5
    assert run.recorded("val") == [1, 2, 3, 4, 5, 6] and len(run.curvature()) == 1000


def test_planted_labels_are_found_and_losses_fall(made):
    run = open_run(made)
    found = run.findings()
    share = (found["kind"] == "label_error").sum() / 1000
    assert 0.01 < share < 0.06
    losses = run.trajectory("train").losses
    assert np.median(losses[-1]) < np.median(losses[0]) / 4 and (losses > 0).all()


def test_every_image_can_be_read_and_duplicates_are_the_same_image(made):
    run = open_run(made)
    read = image_reader(run.manifest["dataset"]["source"])
    paths = run.samples().set_index("sample")["path"]
    for path in paths.iloc[::100]:
        assert read(path).size == (28, 28)
    for row in run.duplicates().itertuples():
        assert read(paths[row.sample]).tobytes() == read(paths[row.partner]).tobytes()


def test_it_is_made_once_and_anew_where_it_was_cut_off(generated, tmp_path):
    def make():
        return generated.make(tmp_path / "gen", 60, validation=30, checkpoints=3, photo=64)

    def stamp():
        return (tmp_path / "gen" / "run" / "run.json").stat().st_mtime_ns

    run = open_run(make())
    read = image_reader(run.manifest["dataset"]["source"])
    image = read(run.samples()["path"].iloc[0])
    assert image.size == (64, 64)
    before = stamp()
    make()
    assert stamp() == before
    mark = tmp_path / "gen" / "generated.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "whole": False}))
    make()
    assert stamp() > before


def test_a_folder_with_other_files_is_left_alone(generated, tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(SystemExit, match="found other files"):
        generated.make(tmp_path, 10)
