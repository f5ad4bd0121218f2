"""One image, large, with zoom: fitted, in its own size, or enlarged, smooth or with crisp pixels."""

import streamlit as st

from lossprint.app.elements.gallery import part

_HTML = """
<div class="stage" tabindex="0" role="group" aria-label="Image: plus and minus zoom, arrows move, 0 fits"><img></div>
<div class="tools" role="toolbar" aria-label="Zoom">
  <button type="button" class="out" aria-label="Zoom out">−</button>
  <button type="button" class="in" aria-label="Zoom in">+</button>
  <button type="button" class="fit">Fit</button>
  <button type="button" class="own" title="The image's own pixels">1:1</button>
  <button type="button" class="crisp" title="Hard pixel edges instead of smoothing">Pixels</button>
  <span class="percent" aria-hidden="true"></span>
</div>
"""
_VIEWER = st.components.v2.component("lossprint_viewer", html=_HTML, css=part("viewer.css"), js=part("viewer.js"))


def viewer(src: str, *, alt: str, width: int, height: int, pixelated: bool, limit: int, key: str) -> None:
    """Draw the image `src` (a data URI) of `width` x `height` pixels, fitted into at most `limit` CSS pixels a row."""
    _VIEWER(
        key=key,
        data={"src": src, "alt": alt, "width": width, "height": height, "pixelated": pixelated, "limit": limit},
    )
