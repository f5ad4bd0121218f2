"""The dataset as decided as a COCO file: one annotation an image, its category the label; `datasets` reads it again."""

import json
from pathlib import Path

import pandas as pd
from PIL import Image

from lossprint.audit.datasets.images import FORMATS
from lossprint.audit.datasets.kinds import OF_FILES
from lossprint.audit.datasets.media import TEXTS, media_of
from lossprint.audit.datasets.source import inside
from lossprint.audit.export import outfile
from lossprint.audit.export.applied import Applied
from lossprint.audit.export.export import cleaned
from lossprint.audit.export.items import Items
from lossprint.audit.export.tree import dataset_root
from lossprint.audit.types import LossprintError

MARK = b'{"info": {"lossprint": '  # how each such file starts


def write_coco(decisions: Applied, out: str | Path) -> pd.DataFrame:
    """Write FILE.json, the record as its `info`; returns the samples in it, those of `export.cleaned`.

    Image ids count from 1 in the dataset's order, `file_name` is the path in the dataset, `split` the split. The one
    annotation of an image is of all of it, as a box. Raises LossprintError for a dataset without images, and as `save`.
    """
    out, run, table = Path(out), decisions.run, cleaned(decisions)
    if media_of(run.manifest["dataset"]) is TEXTS:
        raise LossprintError(f"expected a dataset of images for a COCO file, found texts in {run.path}")
    outfile.refuse(run, out, (".json",), _is_ours)
    items = Items(run, table)
    images, annotations = [], []
    for number, (row, (width, height)) in enumerate(zip(table.itertuples(), _sizes(items, run)), 1):
        image = {"id": number, "file_name": row.path, "width": width, "height": height, "split": row.split}
        box = {"bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0}
        images.append(image)
        annotations.append({"id": number, "image_id": number, "category_id": items.targets[number - 1] + 1} | box)
    categories = [{"id": at, "name": name} for at, name in enumerate(items.classes, 1)]
    whole = {"info": decisions.record, "images": images, "annotations": annotations, "categories": categories}
    text = json.dumps(whole, ensure_ascii=False)
    outfile.write(out, outfile.encoded(text + "\n", str(out)))
    return table


def _is_ours(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(len(MARK)) == MARK


def _sizes(items: Items, run):
    """Width and height of each image, from the files' headers where there are files."""
    root = dataset_root(run)
    for path in items.table["path"]:
        if root is not None and run.manifest["dataset"].get("kind") in OF_FILES:
            try:
                with Image.open(inside(root, path, items.follow), formats=FORMATS) as image:
                    turned = image.getexif().get(0x0112, 1) >= 5  # on its side, as its tag says
                    yield image.size[::-1] if turned else image.size
                continue
            except (OSError, Image.DecompressionBombError):
                pass
        yield items.read(path).size
