"""The thumbnail grid and the large image: components.v2 elements."""

from lossprint.app.gallery.gallery import Tile, gallery
from lossprint.app.gallery.viewer import viewer

__all__ = ["Tile", "gallery", "viewer"]
