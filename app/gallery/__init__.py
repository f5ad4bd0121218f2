"""The thumbnail grid, the large image and the whole text: components.v2 elements."""

from lossprint.app.gallery.gallery import Tile, gallery
from lossprint.app.gallery.reader import reader
from lossprint.app.gallery.viewer import viewer

__all__ = ["Tile", "gallery", "reader", "viewer"]
