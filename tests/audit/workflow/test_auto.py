"""`--model auto`, the default: what it takes where weights are at hand, where none are, and what it says."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from conftest import cut_demo

from lossprint.audit import LossprintError
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.training import backbones, names
from lossprint.audit.training.names import AUTO
from lossprint.audit.workflow import auto
from lossprint.audit.workflow.audit import audit


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torch.hub, in which `put` lays weights of chance under the published name."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def put(name: str, damaged: bool = False):
        file = folder / torchvision.models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
        if damaged:
            file.write_bytes(b"no weights")
        else:
            torch.manual_seed(0)
            torch.save(torchvision.models.get_model(name, weights=None).state_dict(), file)
        return file

    return put


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return cut_demo(tmp_path_factory.mktemp("auto"), 12, 4)


def asked(**more) -> dict:
    return {"features": None, "weights": None} | more


def test_the_first_preferred_weights_that_are_there_are_taken(hub):
    assert auto.proposed(asked(), False, None) == "small"
    hub("alexnet", damaged=True)
    assert auto.proposed(asked(), False, None) == "small+frozen:alexnet"
    hub("resnet18", damaged=True)
    assert auto.proposed(asked(), False, None) == "small+frozen:resnet18"
    assert auto.proposed(asked(), False, None, several=True) == "small"


def test_a_download_is_told_or_asked_for(hub):
    questions = []

    def consent(answer):
        return lambda question: questions.append(question) or answer

    assert auto.proposed(asked(), True, None) == "small+frozen:efficientnet_b0"
    assert auto.proposed(asked(), False, consent(True)) == "small+frozen:efficientnet_b0"
    assert auto.proposed(asked(), False, consent(False)) == "small"
    assert len(questions) == 2 and "Download efficientnet_b0, 20" in questions[0] and "https://" in questions[0]


def test_files_say_what_they_are_of(hub):
    assert auto.proposed(asked(features="f.npy"), False, None) == "small+frozen:features"
    assert auto.proposed(asked(weights="/a/resnet50-11ad3fa6.pth"), False, None) == "small+frozen:resnet50"
    with pytest.raises(LossprintError, match=r"no classifier's name at the beginning of 'mine\.pth'"):
        auto.proposed(asked(weights="mine.pth"), False, None)


BY_USER = {"seeds": None, "folds": None, "curvature_checkpoints": None, "compiled": False, "epochs": None}


@pytest.mark.parametrize(
    ("side", "quick", "by_user", "pays"),
    [(80, 1, {}, True), (80, 100, {}, False), (64, 1, {}, False), (80, 1, {"seeds": 3}, False)],
)
def test_of_many_large_photos_some_are_tried(tmp_path, monkeypatch, side, quick, by_user, pays):
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for at in range(5):
            pixels = np.random.default_rng(at).integers(0, 255, (side, side // 2, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{at}.png")
    monkeypatch.setattr(auto, "QUICK", quick)
    dataset = open_dataset(str(tmp_path / "data"), 0.2, 0, check=False)
    assert auto.to_try(BY_USER | by_user, dataset) is pays


def test_frames_of_videos_are_seen_by_the_backbone_alone_unless_a_training_is_asked_for(labels, tmp_path):
    table = pd.read_csv(labels)
    table["sequence"] = np.where(np.arange(len(table)) % 2, "one", "two")
    table["frame"] = np.arange(len(table))
    shutil.copytree(labels.parent, tmp_path / "data")
    table["split"] = np.where(table["sequence"] == "one", "train", "val")
    table.to_csv(tmp_path / "data" / "labels.csv", index=False)
    dataset = open_dataset(str(tmp_path / "data" / "labels.csv"), 0.2, 0, check=False)
    both = {"model": "small+frozen:resnet18", "epochs": 12, "folds": 4}
    settled = auto.settled(both, BY_USER, dataset)
    assert (settled["model"], settled["epochs"], settled["folds"]) == ("frozen:resnet18", 30, 0)
    assert auto.settled(both, BY_USER | {"folds": 4}, dataset)["model"] == "small"
    assert auto.settled(both, BY_USER | {"epochs": 3}, dataset)["epochs"] == 12
    assert auto.settled({"model": "small"}, BY_USER, dataset)["model"] == "small"


def test_the_default_is_small_where_nothing_is_at_hand_and_both_views_where_something_is(hub, labels, tmp_path, capsys):
    options = {"epochs": 1, "curvature_checkpoints": 0}
    run = audit(str(labels), tmp_path / "alone", **options)
    assert run.manifest["asked"]["model"] == "small"
    assert "with --download (efficientnet_b0, 20 MB from https" in capsys.readouterr().err
    same = audit(str(labels), tmp_path / "same", model="small", quiet=True, **options)
    pd.testing.assert_frame_equal(run.scores(), same.scores())
    file = hub("resnet18")
    run = audit(str(labels), tmp_path / "both", quiet=True, model=AUTO, **options)
    assert run.manifest["asked"]["model"] == "small+frozen:resnet18" and run.embeddings()[1].shape[1] == 512
    file.unlink()
    run = audit(str(labels), tmp_path / "both", quiet=True, model=AUTO, resume=True)
    assert run.manifest["asked"]["model"] == "small+frozen:resnet18"


def test_weights_in_the_cache_that_are_none_are_said_and_passed_over(hub, labels, tmp_path, capsys):
    hub("resnet18", damaged=True)
    run = audit(str(labels), tmp_path / "run", epochs=1, curvature_checkpoints=0, quiet=True)
    assert run.manifest["asked"]["model"] == "small" and run.head() is None
    assert "trains small alone, since of frozen:resnet18: expected" in capsys.readouterr().err
    assert json.loads((run.path / "run.json").read_text())["asked"]["model"] == "small"


def test_all_preferred_backbones_exist():
    assert set(auto.PREFERRED) <= set(backbones.names()) and names.SMALL not in backbones.names()


def test_what_a_download_is_said_to_be_is_what_torchvision_says():
    published = torchvision.models.get_model_weights(auto.FETCHED).DEFAULT
    assert f"{auto.FETCHED}, {published.meta['_file_size']:.0f} MB from {published.url}" == auto.PUBLISHED


def test_an_audit_without_weights_does_not_wait_for_torchvision_or_the_compiler(tmp_path):
    program = (
        "import os, sys; os.environ['TORCH_HOME'] = sys.argv[1]\n"
        "import torch\n"
        "from lossprint.audit.training import models, recipe, train; from lossprint.audit.workflow import auto\n"
        "assert auto.proposed({}, False, None) == 'small'\n"
        "network = models.build_model('small', 2, 32)\n"
        "network(torch.zeros(2, 3, 32, 32)).sum().backward()\n"
        "train.Optimizer(network, recipe.Recipe(), {}).step(0.1)\n"
        "sys.exit(bool({'torchvision', 'torch._dynamo'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
