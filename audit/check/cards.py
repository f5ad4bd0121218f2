"""Small pictures of the images that a check names, kept beside its result: a page shows them without the batch."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from lossprint.audit.datasets.dataset import Dataset
from lossprint.audit.types import LossprintError

SIDE, MOST = 96, 60  # px, and pictures of each kind
NEXT = 24  # of images that lie far out and are not named foreign


def named(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of a result that are of a kind, most suspect first."""
    if kind == "foreign":
        return table[table["is_foreign"]].sort_values("foreign", ascending=False, kind="stable")
    if kind == "label_error":
        return table[table["label_error"]].sort_values(["certain", "margin"], ascending=[False, True], kind="stable")
    if kind == "unknown_label":
        return table[table["unknown_label"]].sort_values("label", kind="stable")
    if kind == "repeat":
        return table[table["repeat"] >= 0]
    copies = table[table["copy_of"] >= 0].sort_values("similarity", ascending=False, kind="stable")
    return copies[copies["copy_split"].isin(("val", "test"))] if kind == "leak" else copies


def cards(dataset: Dataset, table: pd.DataFrame) -> list[bytes | None]:
    """JPEG or PNG (M,) of the first `MOST` images of each kind; None for the others."""
    kinds = ("foreign", "leak", "copy", "repeat", "label_error", "unknown_label")
    far = table["foreign"].sort_values(ascending=False, kind="stable").dropna().index[:NEXT]
    rows = np.unique(np.concatenate([far, *(named(table, kind).index[:MOST] for kind in kinds)]))
    made: list[bytes | None] = [None] * len(table)
    for row in rows.astype(int):
        try:
            made[row] = _card(dataset.image(table.at[row, "path"]))
        except (LossprintError, OSError, ValueError):  # it could be read a moment ago
            made[row] = None
    return made


def _card(image: Image.Image) -> bytes:
    tiny, buffer = max(image.size) <= 64, io.BytesIO()
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    image.save(buffer, "PNG" if tiny else "JPEG", **({} if tiny else {"quality": 80}))
    return buffer.getvalue()
