"""The thumbnail grid, the large image and the whole text: components.v2 elements."""

from lossprint.app.elements.gallery import Tile, gallery
from lossprint.app.elements.reader import reader
from lossprint.app.elements.viewer import viewer

__all__ = ["Tile", "gallery", "reader", "viewer"]
