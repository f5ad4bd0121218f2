"""`lossprint check`: batches with planted faults beside a run of a network, of a backbone, and of losses alone."""

import json
import shutil
from pathlib import Path

import backbones_of_users
import jsonschema
import numpy as np
import pandas as pd
import pytest
from conftest import DEMO, cut_demo
from helpers import make_run, one_line
from PIL import Image, ImageEnhance

from lossprint.audit.check import batch, page, words
from lossprint.audit.check.check import check
from lossprint.audit.cli import main as cli
from lossprint.audit.cli import output
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError

SCHEMA = json.loads(Path(output.__file__).with_name("results.schema.json").read_text())
NAMES = ("bag", "dress", "sandal")


@pytest.fixture(scope="module")
def new(tmp_path_factory) -> Path:
    """labels.csv of a batch: 60 images that belong, of them 6 wrongly labelled; 3 copies of the run's images, one of
    them changed; one image twice; 12 foreign ones; one that cannot be read; a label that the run does not have."""
    folder = tmp_path_factory.mktemp("new")
    table = pd.read_csv(DEMO / "labels.csv", dtype=str)
    truth = pd.read_csv(DEMO / "truth.csv", dtype=str).set_index("path")["true_label"]
    table = table[table["split"].eq("train") & table["label"].isin(NAMES)]
    table = table[table["label"].to_numpy() == truth.reindex(table["path"]).to_numpy()]
    rows = []
    for label, mine in table.groupby("label"):
        for at, path in enumerate(mine["path"].tail(20)):
            shutil.copyfile(DEMO / path, folder / Path(path).name)
            wrong = NAMES[(NAMES.index(label) + 1) % 3] if at < 2 else label
            rows.append((Path(path).name, wrong, "wrong" if at < 2 else "fine"))
    for at, path in enumerate(table["path"].head(3)):
        image = Image.open(DEMO / path).convert("RGB")
        (image if at else ImageEnhance.Brightness(image).enhance(1.05)).save(folder / f"copy{at}.png")
        rows.append((f"copy{at}.png", "", "copy"))
    shutil.copyfile(folder / rows[5][0], folder / "again.png")
    rows.append(("again.png", "", "again"))
    random = np.random.default_rng(0)
    for at in range(12):
        pixels = np.full((40, 40, 3), random.integers(0, 255, 3), np.uint8)
        pixels[5:20, 10:30] = random.integers(0, 255, 3)
        pixels[25:35, 3:18] = random.integers(0, 255, 3)
        Image.fromarray(pixels).save(folder / f"foreign{at}.png")
        rows.append((f"foreign{at}.png", "boat" if at < 2 else "", "foreign"))
    (folder / "broken.png").write_bytes(b"no image")
    rows.append(("broken.png", "bag", "broken"))
    frame = pd.DataFrame(rows, columns=["path", "label", "planted"])
    frame[["path", "label"]].to_csv(folder / "labels.csv", index=False)
    frame.to_csv(folder / "truth.csv", index=False)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def home(audited, tmp_path_factory):
    """run: that of `audited`, of --model small on three classes."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(audited, home / "run")
    return home


def planted(new: Path, samples: pd.DataFrame) -> pd.Series:
    return samples["path"].map(pd.read_csv(new.with_name("truth.csv")).set_index("path")["planted"])


def test_everything_planted_is_found_by_the_command(home, new, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["check", str(new), "--run", str(home / "run"), "--html", "new.html", "--out", "new.csv", "--quiet"]
    limits = ["--fail-on", "copy>2,unreadable>0,unknown_label>5"]
    capsys.readouterr()
    assert cli.main([*arguments, "--json", *limits]) == 3
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, {**SCHEMA["commands"]["check"], "$defs": SCHEMA["$defs"]})
    assert [one["limit"] for one in told["failed"]] == ["copy>2", "unreadable>0"]
    parts = told["parts"]
    assert parts["unreadable"]["found"] == 1 and told["unreadable"][0]["path"] == "broken.png"
    assert parts["unknown_label"] == {"found": 2, "unjudged": 0, "why": "", "names": [{"label": "boat", "images": 2}]}
    samples = pd.read_csv("new.csv", keep_default_na=False)
    what = planted(new, samples)
    copies = samples["copy_of"] >= 0
    assert set(what[copies]) == {"copy"} and copies.sum() == 3
    assert sorted(samples.loc[copies, "copy_kind"]) == ["exact", "exact", "near"]
    assert set(samples.loc[copies, "copy_split"]) == {"train"} and parts["leak"]["found"] == 0
    assert "again" in set(what[samples["repeat"] >= 0]) and parts["repeat"]["found"] <= 2, "the demo has copies, too"
    flagged = samples["label_error"].astype(str) == "True"
    assert (what[flagged] == "wrong").sum() >= 4 and (what[flagged] == "fine").sum() <= 4
    far = pd.to_numeric(samples["foreign"]).groupby(what).median()
    assert far["foreign"] > 1.5 * far["fine"] and (what[samples["is_foreign"].astype(str) == "True"] == "foreign").all()
    colour = next(row for row in parts["quality_shift"]["rows"] if row["name"] == "colour")
    assert colour["distance"] >= 12 / 76 > colour["least"] and colour["above"] > 0.5
    html = Path("new.html").read_text()
    assert html.startswith(page.MARK) and "broken.png" in html and html.count("data:image/png") >= 10
    assert "http" not in html.split("</style>")[1] and "<script" not in html
    result, kept = beside.check(open_run(home / "run"), "labels.csv")
    assert result["parts"] == parts and len(kept) == 76 == told["images"] - 1
    assert kept["card"].notna().sum() >= 12 and page.uri(kept["card"].dropna().iloc[0]).startswith("data:image/png")


def test_a_batch_that_belongs_is_clean_and_is_not_trained_on(home, tmp_path):
    table = pd.read_csv(DEMO / "labels.csv", dtype=str)
    table = table[table["split"].eq("test") & table["label"].isin(NAMES)]
    for path in table["path"]:
        shutil.copyfile(DEMO / path, tmp_path / Path(path).name)
    found = check(open_run(home / "run"), str(tmp_path)).result
    parts = found["parts"]
    assert found["labelled"] == 0 and found["notes"] == []
    assert parts["copy"]["found"] == parts["leak"]["found"] == parts["label_error"]["found"] == 0
    assert parts["foreign"]["found"] <= 0.05 * len(table) and parts["quality_shift"]["found"] <= 0.1 * len(table)
    assert parts["class_shift"]["how"] == "predicted" and parts["class_shift"]["found"] == 0
    whole = parts["foreign"]["whole"]
    assert whole["least"] < 0.3 and parts["foreign"]["reference"] == "training", "of 45 validation images nothing"
    assert "doubtful: foreign" in " ".join(words.unjudged(found))


def test_folders_are_labels_where_they_name_classes(home, small_dataset, tmp_path):
    images = sorted((small_dataset.parent / "images").glob("*"))[:6]
    for at, image in enumerate(images):
        place = tmp_path / ("bag" if at < 3 else "other" if at < 5 else "")
        place.mkdir(exist_ok=True)
        shutil.copyfile(image, place / image.name)
    run = open_run(home / "run")
    samples = batch.read_batch(str(tmp_path), run, batch.Choices(), 28).samples
    assert sorted(samples["label"]) == ["", "bag", "bag", "bag", "other", "other"]
    result = check(run, str(tmp_path), title="mine").result
    assert result["parts"]["copy"]["found"] == 6 and result["parts"]["unknown_label"]["found"] == 2
    (tmp_path / "bag").rename(tmp_path / "Tuesday")
    one = batch.read_batch(str(tmp_path), run, batch.Choices(), 28)
    assert set(one.samples["label"]) == {""} and "without a label" in one.notes[0]


def test_manifests_without_labels_and_single_images(home, small_dataset, tmp_path):
    image = sorted((small_dataset.parent / "images").glob("*"))[0]
    shutil.copyfile(image, tmp_path / "one.png")
    (tmp_path / "list.csv").write_text("path\none.png\n")
    result = check(open_run(home / "run"), str(tmp_path / "list.csv")).result
    assert result["images"] == 1 and result["labelled"] == 0 and result["parts"]["copy"]["found"] == 1
    assert result["parts"]["quality_shift"]["unjudged"] == 1, "one image has no distribution"
    assert beside.checks(open_run(home / "run"))[0] == "list.csv"


def test_a_backbone_looks_at_the_batch(new, tmp_path, monkeypatch):
    from lossprint.audit.workflow.audit import audit

    shutil.copyfile(backbones_of_users.__file__, tmp_path / "backbones_of_mine.py")
    monkeypatch.chdir(tmp_path)
    labels = cut_demo(tmp_path / "data", 80, 60)
    run = audit(str(labels), tmp_path / "run", model="frozen:backbones_of_mine:filters", quiet=True)
    found = check(run, str(new))
    parts, what = found.result["parts"], planted(new, found.samples)
    assert parts["foreign"]["method"] == "NNGuide" and parts["foreign"]["unjudged"] == 0
    assert parts["foreign"]["reference"] == "validation" and parts["foreign"]["references"] == 150
    far = found.samples["foreign"].groupby(what).median()
    assert far["foreign"] > far["fine"]
    assert (what[found.samples["label_error"]] == "wrong").sum() >= 4
    monkeypatch.setattr("lossprint.audit.workflow.frozen.open_source", _gone)
    parts = check(run, str(new)).result["parts"]
    assert parts["foreign"]["unjudged"] == 76 and "backbone cannot look: expected weights" in parts["foreign"]["why"]
    assert parts["copy"]["found"] == 3, "copies need no backbone"


def _gone(*_, **__):
    raise LossprintError("expected weights, found none")


def test_not_measured_is_not_clean(new, tmp_path, capsys):
    run = make_run(tmp_path, classes=NAMES)
    result = check(run, str(new)).result
    assert result["unmeasured"] == 76 and "its network is not in the run folder" in result["parts"]["foreign"]["why"]
    assert result["parts"]["label_error"]["unjudged"] > 50
    capsys.readouterr()
    arguments = ["check", str(new), "--run", str(tmp_path / "run"), "--quiet"]
    assert cli.main([*arguments, "--fail-on", "foreign>10%"]) == 3
    assert "not judged" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "data")
    result = check(open_run(tmp_path / "run"), str(new)).result
    for kind in ("copy", "leak", "quality_shift"):
        assert result["parts"][kind]["unjudged"] == 76 and "cannot be read" in result["parts"][kind]["why"]


def test_what_is_no_batch_is_refused_in_one_line(home, tmp_path, capsys):
    run = open_run(home / "run")
    (tmp_path / "empty").mkdir()
    assert "found none" in one_line(check, run, str(tmp_path / "empty"))
    (tmp_path / "empty" / "a.png").write_bytes(b"x")
    assert "found none among 1 ('a.png'" in one_line(check, run, str(tmp_path / "empty"))
    assert "found nothing at" in one_line(check, run, str(tmp_path / "nowhere"))
    assert "name of letters" in one_line(check, run, str(tmp_path), title="../up")
    (tmp_path / "t.jsonl").write_text('{"text": "words"}\n')
    assert "texts" in one_line(check, run, str(tmp_path / "t.jsonl"))
    arguments = ["check", str(tmp_path / "empty"), "--run", str(home / "run")]
    assert cli.main([*arguments, "--fail-on", "label_eror>1"]) == 2
    assert cli.main([*arguments, "--out", str(tmp_path / "empty" / "o.csv")]) == 2
    assert "outside the batch" in capsys.readouterr().err
    assert cli.main(["check", str(tmp_path)]) == 2 and "--run" in capsys.readouterr().err


def test_features_of_another_width_are_refused(home, new, tmp_path):
    np.savez(tmp_path / "f.npz", features=np.zeros((77, 5)), samples=np.arange(77))
    text = one_line(check, open_run(home / "run"), str(new), features=str(tmp_path / "f.npz"))
    assert "expected 128 features an image" in text and "found 5" in text


def test_a_damaged_result_is_said_in_one_line(home):
    run = open_run(home / "run")
    folder = run.path / "checks"
    folder.mkdir(exist_ok=True)
    for content in ("{", '{"parts": 3}', '{"parts": {"foreign": {"found": "many"}}}', "[]"):
        (folder / "odd.json").write_text(content)
        (folder / "odd.parquet").write_bytes(b"PAR1")
        assert "expected a readable check 'odd'" in one_line(beside.check, run, "odd")
    for name in ("odd.json", "odd.parquet"):
        (folder / name).unlink()
