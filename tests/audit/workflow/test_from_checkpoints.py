"""A run from the checkpoints of a training is the run that the training recorded, whatever form they have."""

import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import networks_of_users
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import cut_demo
from helpers import refusal
from safetensors.torch import load_file, save_file

from lossprint.audit import LossprintError, open_run
from lossprint.audit.cli import main as cli
from lossprint.audit.cli import record as cli_record
from lossprint.audit.runs.open import record_command
from lossprint.audit.runs.run import STAGES
from lossprint.audit.workflow.audit import audit
from lossprint.audit.workflow.from_checkpoints import record
from lossprint.audit.workflow.score import score

MODULES = Path(networks_of_users.__file__)
CLASSES = ["bag", "dress", "sandal"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with data/labels.csv and run, a real audit of 3 epochs."""
    folder = tmp_path_factory.mktemp("trained")
    manifest = cut_demo(folder / "data", 40, 8)
    audit(str(manifest), folder / "run", epochs=3, curvature_checkpoints=2, quiet=True)
    return folder


@pytest.fixture
def again(trained, tmp_path, monkeypatch):
    """record(...) of that training's data, its checkpoints and preprocessing unless others are given."""
    facts = open_run(trained / "run").manifest["facts"]["record"]
    statistics = f"\nMEAN, STD = {facts['mean'][0]}, {facts['std'][0]}\n"
    (tmp_path / "own_networks.py").write_text(MODULES.read_text() + statistics)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    said = []

    def call(checkpoints=trained / "run" / "checkpoints", model="small", out="new", **changed):
        options = {
            "curvature_checkpoints": 0,
            "say": said.append,
            **{name: facts[name] for name in ("size", "mean", "std")},
        }
        dataset = changed.pop("dataset", trained / "data" / "labels.csv")
        return record(checkpoints, model, str(dataset), tmp_path / out, quiet=True, **options | changed)

    call.said = said
    return call


def states(trained: Path) -> dict[int, dict[str, torch.Tensor]]:
    return {int(file.stem): load_file(file) for file in sorted((trained / "run" / "checkpoints").iterdir())}


def assert_same_losses(run, trained: Path, exact: bool = True) -> None:
    before = open_run(trained / "run")
    for split, count in (("train", 120), ("val", 24)):
        assert run.recorded(split) == [1, 2, 3]
        for checkpoint in (1, 2, 3):
            new, old = (one.part(split, checkpoint).to_pandas() for one in (run, before))
            assert len(old) == count
            if exact:
                pd.testing.assert_frame_equal(new, old, check_exact=True)
            else:
                pd.testing.assert_frame_equal(new, old, rtol=1e-4, atol=1e-5)


def test_it_is_the_run_that_the_training_recorded(trained, again):
    """Losses, curvature, embedding and findings are the same to the bit, and no weights are copied."""
    run, before = again(curvature_checkpoints=2), open_run(trained / "run")
    assert run.stages == list(STAGES) and run.manifest["recording"] == "eval"
    assert_same_losses(run, trained)
    files = {file.relative_to(run.path): file for file in run.path.rglob("*.*") if file.is_file()}
    assert not any("checkpoints" in str(name) for name in files)
    same = [name for name, file in files.items() if file.read_bytes() == (before.path / name).read_bytes()]
    assert set(files) - set(same) == {Path("run.json"), Path("checksums.json")}  # without those of the weights
    assert sum(name.parts[0] == "curvature" for name in same) == 2 and Path("embeddings.safetensors") in same
    for name in ("cld", "csl", "label_error", "curvature", "outlier"):
        np.testing.assert_allclose(run.scores()[name], before.scores()[name], atol=1e-5)
    assert not any("normalised" in line for line in again.said)
    made = record_command(run.manifest["asked"], "again")
    words = shlex.split(made)
    assert (
        words[:2] == ["lossprint", "record"]
        and cli_record.record.make_context("record", words[2:]).params["size"] == 28
    )


def test_by_default_images_are_as_in_an_audit_and_it_is_said(trained, again):
    run = again(size=None, mean=None, std=None)
    assert_same_losses(run, trained)
    (said,) = [line for line in again.said if "normalised by the training split's own statistics" in line]
    assert "--size 28" in said and said in run.manifest["dataset"]["notes"]


FORMS = {
    "state dict": lambda state: (".pt", state),
    "nested": lambda state: (
        ".pth",
        {"epoch": 3, "model": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    ),
    "data parallel": lambda state: (".pt", {"model_state_dict": {f"module.{name}": t for name, t in state.items()}}),
    "compiled": lambda state: (".bin", {f"_orig_mod.module.{name}": t for name, t in state.items()}),
    "lightning": lambda state: (
        ".ckpt",
        {
            "epoch": 1,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {f"net.{name}": t for name, t in state.items()} | {"criterion.weight": torch.ones(3)},
            "hyper_parameters": {"lr": 0.1, "widths": [32, 64], "name": "small"},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
            "lr_schedulers": [],
        },
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_weights_in_another_form(form, trained, again, tmp_path):
    (tmp_path / "saved").mkdir()
    for number, state in states(trained).items():
        ending, content = FORMS[form](state)
        torch.save(content, tmp_path / "saved" / f"net_epoch{number}{ending}")
    assert_same_losses(again(tmp_path / "saved"), trained)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folders_as_hugging_face_leaves_them(name, trained, again, tmp_path):
    for number, state in states(trained).items():
        folder = tmp_path / "saved" / f"checkpoint-{number * 5}"
        folder.mkdir(parents=True)
        (save_file if name.endswith("safetensors") else torch.save)(state, folder / name)
        (folder / "training_args.bin").write_bytes(pickle.dumps({"lr": 1}))
        torch.save({"state": {}}, folder / "optimizer.pt")
    save_file(states(trained)[3], tmp_path / "saved" / "model.safetensors")  # the best one again
    (tmp_path / "saved" / "training_args.bin").write_bytes(b"no")
    run = again(tmp_path / "saved")
    assert run.recorded() == [5, 10, 15]
    before = open_run(trained / "run").trajectory()
    np.testing.assert_array_equal(run.trajectory().losses, before.losses)
    assert any("not taken as checkpoints: model.safetensors, training_args.bin" in line for line in again.said)


def test_of_several_sets_of_weights_one_is_chosen(trained, again, tmp_path):
    (tmp_path / "saved").mkdir()
    every = states(trained)
    for number, state in every.items():
        content = {"model": state, "ema": {"module": {f"module.{name}": t for name, t in every[3].items()}}}
        torch.save(content, tmp_path / "saved" / f"{number}.pt")
    assert "--weights model or ema/module/module" in refusal(again, tmp_path / "saved")
    assert not (tmp_path / "new").exists()
    assert_same_losses(again(tmp_path / "saved", weights="model"), trained)
    averaged = again(tmp_path / "saved", out="averaged", weights="ema/module/module").trajectory()
    assert (averaged.losses[0] == averaged.losses[2]).all()
    with pytest.raises(LossprintError, match="weights named 'teacher'"):
        again(tmp_path / "saved", out="third", weights="teacher")


def test_a_damaged_file_in_the_middle_is_found_out_before_anything_is_recorded(again, trained, tmp_path):
    shutil.copytree(trained / "run" / "checkpoints", tmp_path / "saved")
    file = tmp_path / "saved" / "00002.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert str(file) in refusal(again, tmp_path / "saved") and not (tmp_path / "new").exists()


# ------------------------------------------------------------------------------------------------- networks of users


@pytest.mark.parametrize(
    "name", ["network", "no_argument", "optional", "keywords", "HuggingFace", "pair", "inner.network"]
)
def test_a_network_of_the_users_own(name, trained, again):
    """Also one with a transform of its own: the same images, normalised by torch instead of in one step."""
    changed = {"size": None, "mean": None, "std": None} if name == "pair" else {}
    run = again(model=f"own_networks:{name}", curvature_checkpoints=1, **changed)
    assert_same_losses(run, trained, exact=False)
    assert run.stages == list(STAGES) and run.scores()["outlier"].notna().all()
    assert run.curvature_recorded() == [3] and run.scores()["curvature"].notna().all()
    new, old = run.embeddings()[1], open_run(trained / "run").embeddings()[1]
    np.testing.assert_allclose(new, old, rtol=1e-3, atol=1e-4)
    assert run.manifest["asked"]["network"] == f"own_networks:{name}" and "model" not in run.manifest["asked"]


def test_transformed_images_are_streamed_where_they_do_not_fit(trained, again, monkeypatch):
    from lossprint.audit.datasets import dataset as datasets

    own = {"size": None, "mean": None, "std": None, "model": "own_networks:pair"}
    held = again(**own)
    monkeypatch.setattr(datasets, "fits_in_memory", lambda *_: False)
    streamed = again(out="streamed", batch=17, **own)
    np.testing.assert_allclose(streamed.trajectory().losses, held.trajectory().losses, atol=1e-5)


def test_a_network_that_does_not_end_in_a_linear_layer_gives_all_but_outliers(trained, again, tmp_path):
    (tmp_path / "saved").mkdir()
    for number, state in states(trained).items():
        torch.save(
            {"tail.weight": torch.eye(3), **{f"small.{n}": t for n, t in state.items()}},
            tmp_path / "saved" / f"{number}.pt",
        )
    run = again(tmp_path / "saved", model="own_networks:tailed")
    assert_same_losses(run, trained, exact=False)
    assert run.embeddings() is None and run.scores()["outlier"].isna().all() and run.has_duplicates()
    assert any("outliers are not looked for" in line for line in again.said)


OWN_FAULTS = {
    "nowhere:network": "expected a module nowhere in",
    "own_networks:netwrok": "found none: did you mean network?",
    "own_networks": "expected a model that exists",
    "own_networks.py:network": "as import names it: own_networks:network",
    "own_networks:network()": "expected --model MODULE:FUNCTION",
    "own_networks:NUMBER": "expected a function at own_networks:NUMBER, found int",
    "own_networks:failing": "found ZeroDivisionError: division by zero (own_networks.py, line",
    "own_networks:leaving": "found SystemExit: 3",
    "own_networks:text": "expected a torch.nn.Module, or a pair (module, transform), from own_networks:text, found str",
    "own_networks:no_transform": "expected a transform that can be called",
    "own_networks:grey": "expected a network that takes images of shape (3, 28, 28): other inputs come from a pair",
    "own_networks:four": "expected logits of shape (2, 3) (images, classes of the dataset) from own_networks:four",
    "own_networks:maps": "found shape (2, 3, 1, 1)",
    "own_networks:named": "found str",
    "own_networks:chance": "expected a transform without chance",
    "own_networks:ragged": "expected inputs of one shape",
    "own_networks:numpy": "expected a tensor of floats from the transform of own_networks:numpy, found ndarray",
    "own_networks:broken": "found KeyError: 'size'",
    "own_networks:without_gradient": "use --curvature-checkpoints 0",
    "needs_more:network": "found ModuleNotFoundError: No module named 'not_installed_here' (needs_more.py, line 1)",
    "syntax:network": "found SyntaxError",
}


@pytest.mark.parametrize("model", OWN_FAULTS)
def test_what_is_wrong_with_a_users_network_is_one_line(model, trained, again, tmp_path):
    (tmp_path / "needs_more.py").write_text("import not_installed_here\n")
    (tmp_path / "syntax.py").write_text("def network(:\n")
    own = {"size": None, "mean": None, "std": None}
    shapes = model.rpartition(":")[2]
    checkpoints = trained / "run" / "checkpoints"
    if shapes in ("grey", "four", "maps", "named"):
        checkpoints = tmp_path / "saved"
        checkpoints.mkdir()
        sys.modules.pop("own_networks", None)
        import own_networks

        for number in (1, 2, 3):
            torch.save(getattr(own_networks, shapes)(3).state_dict(), checkpoints / f"{number}.pt")
    assert OWN_FAULTS[model] in refusal(again, checkpoints, model, curvature_checkpoints=1, **own)
    assert not (tmp_path / "new").exists()


def test_a_transform_takes_no_size_beside_it(again):
    with pytest.raises(LossprintError, match="expected no --size beside the transform"):
        again(model="own_networks:pair")


def test_classes_in_another_order(trained, again, tmp_path):
    """The rows of the head moved: told the order, the losses are the same; untold, a warning says what is measured."""
    (tmp_path / "saved").mkdir()
    order = [2, 0, 1]
    for number, state in states(trained).items():
        moved = {**state, "head.weight": state["head.weight"][order], "head.bias": state["head.bias"][order]}
        torch.save(moved, tmp_path / "saved" / f"{number}.pt")
    names = [CLASSES[at] for at in order]
    (tmp_path / "lines.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "list.json").write_text(json.dumps(names))
    for file in ("lines.txt", "list.json"):
        run = again(tmp_path / "saved", out=f"by {file}", classes=tmp_path / file)
        assert_same_losses(run, trained, exact=False)
        assert not any("no better than" in line for line in again.said)
    wrong = again(tmp_path / "saved")
    (said,) = [line for line in again.said if "no better than one answer for all (33.3%)" in line]
    assert "the order of the classes" in said and said in wrong.manifest["dataset"]["notes"]
    faults = {
        "bag\ndress\nhat\n": "found 'hat', which it does not have",
        "bag\ndress\n": "found no 'sandal'",
        "bag\ndress\nsandal\nbag\n": "found a name twice",
        "[1, 2]": "found others",
    }
    for content, says in faults.items():
        (tmp_path / "wrong.txt").write_text(content)
        assert says in refusal(again, tmp_path / "saved", out="third", classes=tmp_path / "wrong.txt")


# ------------------------------------------------------------------------------------------------- a run cut off


def command(trained: Path, saved: Path, out: Path, *more: str) -> list[str]:
    options = ["--checkpoints", saved, "--model", "small", "--dataset", trained / "data" / "labels.csv", "--out", out]
    options += ["--batch", 8, "--curvature-checkpoints", 1]
    return [str(word) for word in [sys.executable, "-m", "lossprint.audit.cli", "record", *options, "--quiet", *more]]


def test_killed_and_resumed_is_the_same_to_the_byte(trained, tmp_path, capsys):
    saved, broken, whole = tmp_path / "saved", tmp_path / "broken", tmp_path / "whole"
    saved.mkdir()
    for number in range(1, 9):
        shutil.copy(
            trained / "run" / "checkpoints" / f"0000{number // 3 + 1}.safetensors", saved / f"{number}.safetensors"
        )
    assert cli.main(command(trained, saved, whole)[3:]) == 0
    process = subprocess.Popen(command(trained, saved, broken), stderr=subprocess.DEVNULL)
    part = broken / "trajectories" / "split=train" / "checkpoint=00002" / "rank-0.parquet"
    deadline = time.monotonic() + 60
    while not part.exists():
        assert process.poll() is None and time.monotonic() < deadline, "ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = open_run(broken, need=None)
    assert 2 <= len(run.recorded()) < 8
    for call in (open_run, score):
        done, told = len(set(run.recorded()) & set(run.recorded("val"))), refusal(call, broken)
        assert f"{done} of 8 checkpoints recorded; continue it with: lossprint record --checkpoints" in told
        assert told.endswith("--resume")
    before = {checkpoint: _stamp(broken, checkpoint) for checkpoint in run.recorded()}
    capsys.readouterr()
    assert cli.main([*command(trained, saved, broken)[3:], "--curvature-checkpoints", "3", "--resume"]) == 2
    assert "expected --curvature-checkpoints 1," in capsys.readouterr().err
    assert cli.main([*command(trained, saved, broken)[3:], "--resume"]) == 0
    assert before == {checkpoint: _stamp(broken, checkpoint) for checkpoint in before}  # not computed again
    files = {file.relative_to(whole) for file in whole.rglob("*.*") if file.is_file()} - {Path("run.json")}
    assert {file.relative_to(broken) for file in broken.rglob("*.*") if file.is_file()} == files | {Path("run.json")}
    assert [name for name in files if (whole / name).read_bytes() != (broken / name).read_bytes()] == []
    assert sum(name.parts[0] == "trajectories" for name in files) == 16


def _stamp(run: Path, checkpoint: int) -> int:
    return (run / f"trajectories/split=train/checkpoint={checkpoint:05d}/rank-0.parquet").stat().st_mtime_ns


def test_a_whole_run_is_left_alone_until_checkpoints_are_added(trained, again, tmp_path):
    saved = tmp_path / "saved"
    shutil.copytree(trained / "run" / "checkpoints", saved)
    run = again(saved, curvature_checkpoints=2)
    before = (run.path / "run.json").read_bytes()
    with pytest.raises(LossprintError, match="add --resume"):
        again(saved, curvature_checkpoints=2)
    again(saved, curvature_checkpoints=2, resume=True)
    assert (run.path / "run.json").read_bytes() == before
    shutil.copy(saved / "00003.safetensors", saved / "00004.safetensors")
    longer = again(saved, curvature_checkpoints=None, resume=True)
    assert longer.recorded() == [1, 2, 3, 4] and longer.stages == list(STAGES)
    np.testing.assert_array_equal(longer.trajectory().losses[3], longer.trajectory().losses[2])
    assert 4 in longer.curvature_recorded()
    (saved / "00002.safetensors").unlink()
    with pytest.raises(LossprintError, match=r"found 00002\.safetensors missing"):
        again(saved, curvature_checkpoints=None, resume=True)
    with pytest.raises(LossprintError, match="recorded from saved checkpoints"):
        audit(str(trained / "data" / "labels.csv"), run.path, resume=True, quiet=True)


# ------------------------------------------------------------------------------------------------- datasets


def test_test_samples_and_unreadable_images_and_no_validation_split(trained, again, tmp_path):
    shutil.copytree(trained / "data", tmp_path / "data")
    table = pd.read_csv(tmp_path / "data" / "labels.csv")
    broken = table.index[table["split"] == "train"][0]
    (tmp_path / "data" / table["path"][broken]).write_bytes(b"no image")
    table["split"] = table["split"].replace("val", "test")
    table.to_csv(tmp_path / "data" / "labels.csv", index=False)
    run = again(dataset=tmp_path / "data" / "labels.csv", val_fraction=0.25)
    counts = {split: len(run.part(split, 2)) for split in ("train", "val", "test")}
    assert counts["test"] == 24 and sum(counts.values()) == 143 and 27 <= counts["val"] <= 33
    assert any("validation samples were drawn now" in line for line in again.said)
    old = open_run(trained / "run").part("val", 2).to_pandas()  # the samples of test now
    pd.testing.assert_series_equal(run.part("test", 2).to_pandas()["loss"], old["loss"], rtol=1e-4)


def test_texts_and_places_that_do_not_fit_are_one_line(trained, again, tmp_path):
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"word {n},{'ab'[n % 2]}\n" for n in range(8)))
    with pytest.raises(LossprintError, match="expected a dataset of images with one class each, found texts"):
        again(dataset=tmp_path / "texts.csv")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.txt").touch()
    with pytest.raises(LossprintError, match="new or empty folder"):
        again()
    assert os.listdir(tmp_path / "new") == ["mine.txt"]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--mean", "0.5,0.5"], "three numbers from 0 to 1"),
        (["--mean", "124,116,104"], "three numbers from 0 to 1"),
        (["--std", "0,0.2,0.2"], "three numbers over 0"),
        (["--size", "0"], "1 or more"),
    ],
)
def test_options_of_the_command(option, says, capsys):
    words = ["record", "--checkpoints", "x", "--model", "small", "--dataset", "y", "--out", "z", *option]
    assert cli.main(words) == 2 and says in capsys.readouterr().err
