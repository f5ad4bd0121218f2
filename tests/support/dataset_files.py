"""Tiny datasets on disk, for the tests."""

import io
import tarfile

from helpers import refusal
from PIL import Image

from lossprint.audit.datasets.dataset import Dataset, open_dataset

FOUR = "path,label\na.png,x\nb.png,x\nc.png,y\nd.png,y\n"


def picture(path, value=0, size=(4, 4)):
    """Save an image of one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def png(value: int, size: tuple[int, int] = (4, 4)) -> bytes:
    """An image of one grey value as the bytes of a file."""
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path, members, kind=tarfile.USTAR_FORMAT):
    """A tar of (name, bytes) and of whole TarInfo objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
                continue
            about = tarfile.TarInfo(member[0])
            about.size = len(member[1])
            file.addfile(about, io.BytesIO(member[1]))
    return path


def folder(root, per_class=10, classes=("cat", "dog")):
    """Class folders of images; the k-th of a class has the value 10 * class + k."""
    for number, name in enumerate(classes):
        for k in range(per_class):
            picture(root / name / f"{k:02d}.png", 10 * number + k)
    return root


def manifest(root, text, images=("a", "b", "c", "d")):
    """A labels.csv with this text, beside images a.png, b.png and so on of values 0, 1, ..."""
    for value, name in enumerate(images):
        picture(root / f"{name}.png", value)
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return root / "labels.csv"


def message(source, **options) -> str:
    """The one line with which a source is refused."""
    return refusal(open_dataset, source, **options)


def by_path(dataset: Dataset, column: str) -> dict:
    return dict(zip(dataset.samples["path"], dataset.samples[column]))
