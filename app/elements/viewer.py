"""One image, large, or two side by side: zoom, brightness, contrast, the window of 16-bit files, their difference."""

from dataclasses import asdict, dataclass

import streamlit as st

from lossprint.app.elements.gallery import part

_HTML = """
<div class="row"></div>
<div class="tools" role="toolbar" aria-label="Zoom and light">
  <button type="button" class="out" aria-label="Zoom out">−</button>
  <button type="button" class="in" aria-label="Zoom in">+</button>
  <button type="button" class="fit">Fit</button>
  <button type="button" class="own" title="The image's own pixels">1:1</button>
  <button type="button" class="crisp" title="Hard pixel edges instead of smoothing">Pixels</button>
  <button type="button" class="differ" aria-pressed="false" hidden>Difference</button>
  <span class="percent" aria-hidden="true"></span>
  <details>
    <summary>Light</summary>
    <label>Brightness <input class="brightness" type="range" min="0.1" max="4" step="0.05" value="1"></label>
    <label>Contrast <input class="contrast" type="range" min="0.1" max="4" step="0.05" value="1"></label>
    <div class="window" hidden>
      <label>Window centre <input class="centre" type="number" step="any"></label>
      <label>width <input class="span" type="number" step="any" min="0"></label>
      <span class="values"></span>
    </div>
    <button type="button" class="plain">As it was</button>
  </details>
  <span class="said" role="status"></span>
</div>
"""
_VIEWER = st.components.v2.component(
    "lossprint_viewer",
    html=_HTML,
    css=part("viewer.css"),
    js=part("dom.js") + part("stage.js") + part("viewer.js"),
)


@dataclass(frozen=True)
class Deep:
    """The values of a file with more than 8 bits: `data` is base64 of uint16, little endian, row by row, which stand
    for `least` to `greatest`; `low` to `high` is the window it is drawn by; `inverted`: low values are bright."""

    data: str
    width: int
    height: int
    least: float
    greatest: float
    low: float
    high: float
    inverted: bool = False


@dataclass(frozen=True)
class Image:
    """An image as a data URI of `width` x `height` pixels."""

    src: str
    alt: str
    width: int
    height: int
    pixelated: bool = False
    caption: str = ""
    deep: Deep | None = None


def viewer(*images: Image, limit: int, key: str) -> None:
    """Draw one image, or two side by side, fitted into at most `limit` CSS pixels a row."""
    _VIEWER(key=key, data={"pictures": [asdict(one) for one in images], "limit": limit})
