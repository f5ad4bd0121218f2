"""Sets that torchvision reads, never downloaded."""

import inspect
import struct

import numpy as np
import pytest
import torchvision
from dataset_files import message
from PIL import Image

from lossprint.audit.datasets.dataset import decode, image_reader, image_sizes, open_dataset
from lossprint.audit.datasets.readers.torchvision import TORCHVISION, _class_names, _targets
from lossprint.audit.types import LossprintError


def idx(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values, np.uint8)
    path.write_bytes(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes())


@pytest.fixture
def fashion(tmp_path):
    """FashionMNIST as torchvision lays it out: 30 training images, 10 test images; the value of image k is k."""
    raw = tmp_path / "FashionMNIST" / "raw"
    for name, count in (("train", 30), ("t10k", 10)):
        idx(raw / f"{name}-images-idx3-ubyte", np.arange(count)[:, None, None] * np.ones((1, 28, 28)))
        idx(raw / f"{name}-labels-idx1-ubyte", np.arange(count) % 3)
    return f"torchvision:FashionMNIST:{tmp_path}"


def test_torchvision(fashion, tmp_path):
    dataset = open_dataset(fashion)
    assert (dataset.kind, dataset.root, dataset.source) == ("torchvision", tmp_path, fashion)
    assert dataset.classes == ["Pullover", "T-shirt/top", "Trouser"]
    assert dataset.samples["sample"].tolist() == list(range(40))
    assert dataset.samples["path"][[0, 29, 30]].tolist() == ["train/000000", "train/000029", "test/000000"]
    assert dataset.samples["label"][:3].tolist() == ["T-shirt/top", "Trouser", "Pullover"]
    assert dataset.samples["split"].value_counts().to_dict() == {"train": 27, "test": 10, "val": 3}
    assert decode(dataset, 28)[:, 0, 0, 0].tolist() == [*range(30), *range(10)]
    assert image_sizes(dataset, at_most=2).tolist() == [[28, 28]] * 2
    for read in (dataset.image, image_reader(fashion)):
        assert np.asarray(read("test/000004")).tolist() == np.full((28, 28, 3), 4).tolist()
        for bad in ("test/000099", "dev/1", "train/x", "../labels.csv"):
            with pytest.raises(LossprintError):
                read(bad)


def test_torchvision_fingerprint_is_of_the_pixels(fashion, tmp_path):
    first = open_dataset(fashion).fingerprint
    assert open_dataset(fashion, seed=1).fingerprint == first
    idx(tmp_path / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte", np.zeros((10, 28, 28)))
    assert open_dataset(fashion).fingerprint != first


def test_bad_torchvision(tmp_path):
    found = message(f"torchvision:FashonMNIST:{tmp_path}")
    assert "Did you mean FashionMNIST?" in found and "CIFAR10" in found
    assert "torchvision:NAME:ROOT" in message("torchvision:CIFAR10")
    found = message(f"torchvision:CIFAR10:{tmp_path}")
    assert "files of CIFAR10" in found and str(tmp_path) in found and "download=True" not in found
    assert list(tmp_path.iterdir()) == []


def test_the_table_fits_torchvision():
    for name, splits in TORCHVISION.items():
        known = inspect.signature(getattr(torchvision.datasets, name).__init__).parameters
        assert "train" in splits
        assert all(set(arguments) <= set(known) for arguments in splits.values()), name


def test_labels_of_torchvision_sets_without_targets():
    class Pairs:
        """Like the sets that offer neither targets nor classes."""

        def __init__(self):
            self.images = [(Image.new("L", (2, 2), value), value % 2) for value in range(4)]

        def __len__(self):
            return len(self.images)

        def __getitem__(self, row):
            return self.images[row]

    assert _targets(Pairs()) == [0, 1, 0, 1]
    assert _class_names(Pairs()) == []
