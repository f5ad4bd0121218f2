"""The thumbnail grid, the large image, the question, the timeline: components.v2 elements. It imports audit only."""

from lossprint.app.elements.gallery import Tile, gallery
from lossprint.app.elements.reader import reader
from lossprint.app.elements.viewer import viewer

__all__ = ["Tile", "gallery", "reader", "viewer"]
