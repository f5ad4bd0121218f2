"""A run in a program's hands: tables, decisions, pictures, the cleaned dataset; and what a checker of types sees."""

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import at_home, make_run, one_line

import lossprint
from lossprint import scoring

ROOT = Path(__file__).parent.parent.parent
LIGHT = "torch,torchvision,pandas,pyarrow,scipy,sqlalchemy,streamlit,datasets,PIL,plotly,alembic"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("made")).path.parent


@pytest.fixture
def run(made, tmp_path) -> lossprint.Run:
    return lossprint.Run(at_home(shutil.copytree(made, tmp_path / "home")))


def test_it_is_opened_and_says_in_a_line_what_it_is(made):
    run = lossprint.open_run(made / "run")
    assert repr(run) == f"<lossprint.Run {str(made / 'run')!r}: 30 train, 12 val, 12 test; 3 classes>"
    shown = run._repr_html_()
    assert "label_error" in shown and "<script" not in shown and str(run.path) in shown
    with pytest.raises(lossprint.LossprintError, match="expected a run folder"):
        lossprint.open_run(made / "nothing")


def test_a_path_with_markup_stays_text(made, tmp_path):
    run = lossprint.open_run(shutil.copytree(made / "run", tmp_path / "<img src=x>"))
    assert "<img" not in run._repr_html_()


def test_findings_by_kind_and_rank(run):
    assert run.findings("label_error")["sample"].tolist() == [4, 1]
    assert run.findings(["duplicate", "outlier"], top=1)["group"].tolist() == [
        "duplicate:0",
        "duplicate:0",
        "outlier:5",
    ]
    assert run.counts()["label_error"] == 2 and run.counts()["sequence_order"] == 0
    assert "expected a kind of label_error" in one_line(run.findings, "label_errors")
    assert set(run.samples("val")["split"]) == {"val"}


def test_loss_prints_are_what_the_scores_take(run):
    prints = run.trajectory("train", samples=[5, 3])
    assert prints.samples.tolist() == [5, 3] and prints.losses.shape == (2, 5) and prints.margins.shape == (2, 5)
    whole = run.trajectory("train")
    np.testing.assert_array_equal(whole.losses[[5, 3]], prints.losses)
    np.testing.assert_allclose(scoring.csl(whole.losses), run.folder.trajectory().losses.mean(axis=0), rtol=1e-6)
    val = run.trajectory("val")
    assert np.isfinite(scoring.ltc(whole.losses, whole.labels, val.losses, val.labels)).all()
    assert prints.frame.loc[3, 1] == whole.losses[3, 0]
    assert "found 31, of the split val" in one_line(run.trajectory, "train", [31])
    assert len(run.trajectory("train", samples=[])) == 0


def test_decisions_are_stored_listed_and_taken_back(run):
    stored = run.decide("label_error:4", "accept", reviewer="ann", comment="sure")
    assert stored[["sample", "new_label", "reviewer"]].values.tolist() == [[4, "shirt", "ann"]]
    run.decide("near_duplicate:2", "exclude", samples=[6], reviewer="bob")
    run.decide("label_error:1", "relabel", label="bag", reviewer="ann")
    assert run.decisions("latest")["sample"].tolist() == [1, 4, 6] and len(run.decisions()) == 3
    data = lossprint.cleaned(run)
    assert len(data) == 53 and "1 excluded" in repr(data)
    assert dict(zip(data.changes["path"].str[-7:-4], data.changes["new"])) == {"001": "bag", "004": "shirt", "006": ""}
    assert run.undo("ann") and run.undo("ann") and not run.undo("ann")
    assert lossprint.cleaned(run.path).changes["old"].tolist() == ["bag"]


REFUSED = {
    "a finding that is none": (("label_error:99", "keep"), {}, "label_error:99"),
    "an unknown decision": (("label_error:4", "delete"), {}, "accept, keep"),
    "all copies of a group": (("duplicate:0", "exclude"), {}, "which has the samples 3, 0"),
    "a sample of another finding": (("duplicate:0", "exclude"), {"samples": [9]}, "found 9"),
    "no sample": (("duplicate:0", "keep"), {"samples": []}, "found none"),
    "no suggestion": (("outlier:5", "accept"), {}, "suggested label"),
    "an unknown label": (("label_error:4", "relabel"), {"label": "hat"}, "near it"),
    "a label that is not wanted": (("label_error:4", "keep"), {"label": "bag"}, "'relabel' alone"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused(run, case):
    arguments, options, words = REFUSED[case]
    assert words in one_line(run.decide, *arguments, reviewer="ann", **options)
    assert run.decisions().empty


def test_the_pictures_show_what_was_recorded(run):
    figure = run.plot_loss_print(3)
    own = next(trace for trace in figure.data if "sample 3" in trace.name)
    np.testing.assert_allclose(own.y, run.trajectory("train", [3]).losses[0], rtol=1e-6)
    assert len(run.plot_loss_print([3, 4, 33]).data) == 5  # with the band and the mean
    right = run.plot_learning("accuracy").data[0].y
    np.testing.assert_allclose(right, np.full(5, 100 * 28 / 30))
    assert sum(run.plot_score("csl").data[0].y) == 30
    assert "expected a score of cld" in one_line(run.plot_score, "nothing")
    assert "1 to 20 samples" in one_line(run.plot_loss_print, [])


def test_a_cleaned_dataset_is_what_torch_takes(run):
    from torch.utils.data import DataLoader

    run.decide("label_error:4", "accept", reviewer="ann")
    data = run.cleaned().as_dataset(lambda image: np.array(image).mean(), split="train")
    assert len(data) == 30 and data.classes == ["bag", "coat", "shirt"] and data[4][1] == 2
    loader = DataLoader(data, batch_size=8, num_workers=2)
    assert sum(len(labels) for _, labels in loader) == 30
    data.transform = None
    data[0]
    assert pickle.loads(pickle.dumps(data))[3][0].size == (12, 12)


def test_a_cleaned_dataset_is_what_hugging_face_takes(run, tmp_path):
    run.decide("near_duplicate:2", "exclude", samples=[6], reviewer="bob")
    splits = run.cleaned().as_hf_dataset()
    assert {name: len(part) for name, part in splits.items()} == {"train": 29, "validation": 12, "test": 12}
    first = splits["train"][0]
    assert first["image"].size == (12, 12) and splits["train"].features["label"].int2str(first["label"]) == "bag"


def test_files_and_folders(run, tmp_path):
    data = run.cleaned()
    data.to_folder(tmp_path / "tree")
    assert len(list((tmp_path / "tree" / "train").glob("*/*.png"))) == 30
    data.to_file(tmp_path / "table.parquet")
    assert (tmp_path / "table.parquet").is_file()
    assert "use to_file" in one_line(data.to_folder, tmp_path / "x.csv")
    assert "ends in .csv or .parquet" in one_line(data.to_file, tmp_path / "x")


def test_a_coreset_of_a_run_or_its_path(run):
    chosen = lossprint.choose_coreset(run.path, "random", fraction=0.2, seed=3)
    assert len(chosen) == 6 and chosen.equals(lossprint.choose_coreset(run, "random", fraction=0.2, seed=3))


# ------------------------------------------------------------------------------------------------- names and types


def test_every_name_is_in_the_reference():
    page = (ROOT / "docs" / "reference" / "python.md").read_text()
    page += (ROOT / "docs" / "reference" / "recording.md").read_text()
    for name in set(lossprint.__all__) - {"__version__", "app", "audit", "scoring"}:
        assert f"### `{name}`" in page, name
    scores = (ROOT / "docs" / "reference" / "scoring.md").read_text()
    assert all(f"### `{name}`" in scores for name in scoring.__all__)


def test_every_name_that_a_page_gives_is_there():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    given = set(re.findall(r"\blossprint\.([A-Za-z_]\w*)\(", text))
    given |= set(re.findall(r"`lossprint\.(\w+)`(?!\]\()", text))
    assert {"open_run", "run_audit"} <= given
    for name in given:
        assert hasattr(lossprint, name), f"lossprint.{name}"
    for name in re.findall(r"\brun\.(\w+)\(", (ROOT / "docs" / "howto" / "python.md").read_text(encoding="utf-8")):
        assert hasattr(lossprint.Run, name), f"Run.{name}"


@pytest.fixture
def checked(tmp_path):
    """mypy --strict on a file, Lossprint laid out as a wheel lays it; foreign packages are not followed."""
    site = tmp_path / "site" / "lossprint"
    site.mkdir(parents=True)
    for place in (*(ROOT / "lossprint").iterdir(), *(ROOT / room for room in ("app", "audit", "scoring", "assets"))):
        (site / place.name).symlink_to(place)
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nstrict = True\nmypy_path = {site.parent}\ncache_dir = {tmp_path / 'cache'}\n"
        "[mypy-lossprint.*]\nfollow_imports = silent\n"
        f"[mypy-{LIGHT.replace(',', '.*,')}.*]\nfollow_imports = skip\nignore_missing_imports = True\n"
    )

    def check(file: Path) -> str:
        command = [sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini"), str(file)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout

    return check


def test_a_strict_checker_of_types_accepts_a_client_and_sees_its_faults(checked, tmp_path):
    client = ROOT / "tests" / "support" / "client.py"
    assert "Success: no issues found" in checked(client)
    wrong = tmp_path / "wrong.py"
    wrong.write_text(client.read_text() + '\nopen_run(3).findingz()\nlossprint.audit("data", "out")\n')
    said = checked(wrong)
    assert 'has no attribute "findingz"' in said and "[arg-type]" in said and "Module not callable" in said
