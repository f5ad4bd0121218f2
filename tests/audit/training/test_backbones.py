"""Frozen backbones and files of features: which there are, what they give, and what is refused in one line."""

import shutil
from pathlib import Path

import backbones_of_users
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import cut_demo
from PIL import Image
from safetensors.torch import save_file
from torchvision import models
from tqdm import tqdm

from lossprint.audit import LossprintError
from lossprint.audit.datasets.dataset import open_dataset
from lossprint.audit.training import backbones
from lossprint.audit.training.feature_files import read_features

MODULE = "copied_backbones"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(str(cut_demo(tmp_path_factory.mktemp("few"), 8, 2)))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Untrained weights of two small networks, as files."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(models.resnet18().state_dict(), folder / "resnet18.pth")
    torch.save({"epoch": 3, "model": models.resnet18(num_classes=7).state_dict()}, folder / "tuned.pth")
    save_file(models.shufflenet_v2_x0_5().state_dict(), folder / "shuffle.safetensors")
    return folder


@pytest.fixture
def own(tmp_path, monkeypatch):
    shutil.copyfile(backbones_of_users.__file__, tmp_path / f"{MODULE}.py")
    monkeypatch.chdir(tmp_path)


def vectors_of(backbone, dataset):
    made = backbones.made_for(backbone, dataset)
    with tqdm(disable=True) as bar:
        return backbones.features(backbone, made, "cpu", False, bar)


def test_torchvision_gives_what_goes_into_its_last_layer(published, dataset):
    backbone = backbones.open_backbone("frozen:resnet18", 3, str(published / "resnet18.pth"))
    found = vectors_of(backbone, dataset)
    network = models.resnet18()
    network.load_state_dict(torch.load(published / "resnet18.pth", weights_only=True))
    network.eval()
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    images = torch.stack([preset(dataset.image(path)) for path in dataset.samples["path"][:4]])
    with torch.inference_mode():
        logits = network(images)
        np.testing.assert_allclose(network.fc(torch.from_numpy(found[:4])), logits, atol=1e-4)
    assert found.shape == (30, 512) and found.dtype == np.float32
    assert backbone.facts["transform"] == {
        "resize": 256,
        "crop": 224,
        "interpolation": "bilinear",
        "antialias": True,
    }
    assert backbone.facts["mean"] == [0.485, 0.456, 0.406] and backbone.facts["vector"] == "the input of fc"


def test_fine_tuned_weights_and_safetensors_serve(published, dataset):
    tuned = backbones.open_backbone("frozen:resnet18", 3, str(published / "tuned.pth"))
    assert vectors_of(tuned, dataset).shape == (30, 512)
    shuffle = backbones.open_backbone("frozen:shufflenet_v2_x0_5", 3, str(published / "shuffle.safetensors"))
    assert vectors_of(shuffle, dataset).shape == (30, 1024)


def test_published_weights_come_from_the_cache_alone(published, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        LossprintError, match=r"expected the published weights of resnet18 at .*\.pth, found none: add "
    ):
        backbones.open_backbone("frozen:resnet18", 3)
    (tmp_path / "checkpoints").mkdir()
    name = Path(models.ResNet18_Weights.DEFAULT.url).name
    shutil.copyfile(published / "resnet18.pth", tmp_path / "checkpoints" / name)
    backbone = backbones.open_backbone("frozen:resnet18", 3)
    assert backbone.facts["weights"] == "ResNet18_Weights.IMAGENET1K_V1"


def test_a_download_that_fails_says_where_from_and_what_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(LossprintError, match="no route to host; offline, put the file at"):
        backbones.open_backbone("frozen:resnet18", 3, download=True)
    assert "downloading 45 MB from https://download.pytorch.org/" in capsys.readouterr().err


def test_weights_of_another_network_are_refused(published):
    with pytest.raises(LossprintError, match=r"expected the weights of the network in .*, found .* missing, such as "):
        backbones.open_backbone("frozen:resnet18", 3, str(published / "shuffle.safetensors"))
    with pytest.raises(LossprintError, match="expected weights in"):
        backbones.open_backbone("frozen:resnet18", 3, str(published / "none.pth"))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("frozen:resnet81", "found 'resnet81': did you mean .*frozen:resnet18"),
        ("frozen:", "expected a backbone that exists, found ''"),
        ("frozen:timm/vit_small", r"timm\.create_model\('vit_small', pretrained=True, num_classes=0\)"),
        ("frozen:nobody:filters", "expected a module nobody"),
        (f"frozen:{MODULE}:filter", "expected a function filter .*: did you mean filters"),
    ],
)
def test_a_backbone_that_there_is_not_is_refused(own, model, text):
    with pytest.raises(LossprintError, match=text):
        backbones.open_backbone(model, 3)


def test_a_function_of_the_users_brings_its_transform_or_gets_one_of_224_px(own, dataset):
    found = vectors_of(backbones.open_backbone(f"frozen:{MODULE}:filters", 3), dataset)
    assert found.shape == (30, 512)
    images = [backbones_of_users.pixels(dataset.image(path)) for path in dataset.samples["path"]]
    with torch.inference_mode():
        np.testing.assert_allclose(found, backbones_of_users.Filters()(torch.stack(images)), atol=1e-5)
    plain = backbones.open_backbone(f"frozen:{MODULE}:plain", 3)
    assert plain.facts["size"] == 224 and backbones.made_for(plain, dataset).shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("maps", r"found maps of shape \(1, 32, 5, 5\): take their mean"),
        ("words", r"expected vectors \(images, d\) from .*, found dict"),
    ],
)
def test_a_module_that_gives_no_vectors_is_refused(own, dataset, function, text):
    with pytest.raises(LossprintError, match=text):
        backbones.made_for(backbones.open_backbone(f"frozen:{MODULE}:{function}", 3), dataset)


def test_vectors_that_are_not_finite_name_the_image(own, dataset):
    with pytest.raises(LossprintError, match="found NaN or infinity for 'images/"):
        vectors_of(backbones.open_backbone(f"frozen:{MODULE}:endless", 3), dataset)


# ------------------------------------------------------------------------------------------------ files of features


@pytest.fixture
def rows(dataset):
    return np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)


def test_each_kind_of_file_gives_the_same_rows(dataset, rows, tmp_path):
    samples = dataset.samples.assign(order=np.random.default_rng(1).permutation(30)).sort_values("order")
    at, paths = samples["sample"].to_numpy(), samples["path"].to_numpy(str)
    np.save(tmp_path / "a.npy", rows.astype(np.float16))
    np.savez(tmp_path / "a.npz", features=rows)
    np.savez(tmp_path / "ids.npz", features=rows[at], samples=at)
    np.savez(tmp_path / "paths.npz", features=rows[at], paths=paths)
    pd.DataFrame({"path": paths, "label": "x", "f": list(rows[at])}).to_parquet(tmp_path / "list.parquet")
    columns = pd.DataFrame(rows[at], columns=list("abcdef")).assign(sample=at)
    pd.concat([columns, columns.head(1).assign(sample=30)]).iloc[:30].to_parquet(tmp_path / "columns.parquet")
    for name in ("a.npz", "ids.npz", "paths.npz", "list.parquet", "columns.parquet"):
        np.testing.assert_array_equal(read_features(tmp_path / name, dataset), rows)
    np.testing.assert_allclose(read_features(tmp_path / "a.npy", dataset), rows, rtol=1e-3, atol=1e-3)


def test_rows_of_images_that_could_not_be_read_are_passed_over(rows, tmp_path):
    labels = cut_demo(tmp_path / "data", 8, 2)
    first = labels.parent / pd.read_csv(labels)["path"][3]
    first.write_bytes(b"no image")
    dataset = open_dataset(str(labels))
    np.save(tmp_path / "a.npy", rows)
    np.testing.assert_array_equal(read_features(tmp_path / "a.npy", dataset), np.delete(rows, 3, axis=0))


def saved(folder, name, **arrays):
    if name.endswith(".npy"):
        np.save(folder / name, arrays["features"])
    elif name.endswith(".npz"):
        np.savez(folder / name, **arrays)
    else:
        pd.DataFrame(arrays).to_parquet(folder / name)
    return folder / name


def with_nan(rows):
    rows = rows.copy()
    rows[4, 2] = np.nan
    return rows


BAD = {
    "few": (lambda r: {"features": r[:29]}, "a.npy", "expected 30 rows of features in .*, found 29"),
    "flat": (lambda r: {"features": r[:, 0]}, "a.npy", r"found float32 of shape \(30,\)"),
    "words": (lambda r: {"features": np.full((30, 2), "a")}, "a.npy", r"found <U1 of shape \(30, 2\)"),
    "nan": (lambda r: {"features": with_nan(r)}, "a.npy", "found NaN or infinity in 1 rows, such as that of 'images/"),
    "objects": (lambda r: {"features": np.array([{}, {}], object)}, "a.npy", "expected features in .*, found: "),
    "no features": (lambda r: {"rows": r}, "a.npz", "found: the arrays rows, no features"),
    "missing": (
        lambda r: {"features": r[:28], "samples": np.arange(28)},
        "a.npz",
        "expected features of all 30 samples .*, found none of 2, such as 'images/",
    ),
    "twice": (
        lambda r: {"features": r, "samples": np.zeros(30, int)},
        "a.npz",
        "each of samples once .* '0' twice",
    ),
    "other ids": (lambda r: {"features": r, "samples": np.arange(30) + 9}, "a.npz", "found id 38: those of another"),
    "other paths": (
        lambda r: {"features": r, "paths": np.array([f"{i}.png" for i in range(30)])},
        "a.npz",
        "found none of 30, such as .*: it is of another dataset",
    ),
    "no ids": (lambda r: {"a": r[:, 0]}, "a.parquet", "found: the columns a, neither sample nor path"),
    "text": (lambda r: {"sample": range(30), "a": ["x"] * 30}, "a.parquet", "'a', no column of numbers"),
    "uneven": (lambda r: {"sample": [0, 1], "f": [[1.0], [1.0, 2.0]]}, "a.parquet", "lists of several lengths"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_does_not_fit_is_refused(dataset, rows, tmp_path, name):
    make, file, text = BAD[name]
    with pytest.raises(LossprintError, match=text):
        read_features(saved(tmp_path, file, **make(rows)), dataset)


def test_what_is_no_file_of_features_is_refused(dataset, tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04")
    for name in ("a.png", "b.npy", "b.npz", "b.parquet", "none.npy"):
        with pytest.raises(LossprintError, match="expected features in"):
            read_features(tmp_path / name, dataset)
