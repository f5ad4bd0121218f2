"""What the viewer shows of files with more than 8 bits: their values, so that a window can be laid over them."""

import base64
from functools import lru_cache

import numpy as np
import streamlit as st

from lossprint.app import data
from lossprint.app.elements.viewer import Deep
from lossprint.audit.datasets.values import Values, values_reader
from lossprint.audit.runs import places

SIDE = 1024  # pixels of the longer side at most: every so many are left out, none is mixed with another
LEVELS = 65535


def deep(loaded: data.Loaded, sample: int) -> Deep | None:
    """The values of a sample's file; None where it has 8 bits, or cannot be read."""
    return _deep(*loaded.key, loaded.samples.at[int(sample), "path"])


@st.cache_resource(max_entries=4, show_spinner=False)
def _reader(path: str, stamp: int):
    return values_reader(places.dataset_of(data._load(path, stamp).run))


@lru_cache(8)
def _deep(path: str, stamp: int, name: str) -> Deep | None:
    try:
        values = _reader(path, stamp)(name)
    except Exception:  # as in data.image: a decoder may raise anything at all, and the picture is said to be missing
        return None
    return None if values is None else packed(values)


def packed(values: Values) -> Deep:
    """Values as 16 bits between the least and the greatest of them."""
    step = -(-max(values.array.shape) // SIDE)
    array = values.array[::step, ::step]
    least, greatest = float(array.min()), float(array.max())
    scaled = (array - least) * (LEVELS / (greatest - least) if greatest > least else 0.0)
    encoded = base64.b64encode(np.rint(scaled).astype("<u2").tobytes()).decode("ascii")
    height, width = array.shape
    return Deep(encoded, width, height, least, greatest, values.low, values.high, values.inverted)
