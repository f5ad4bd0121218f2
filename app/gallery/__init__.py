"""The thumbnail grid: a components.v2 element."""

from lossprint.app.gallery.gallery import Tile, gallery

__all__ = ["Tile", "gallery"]
