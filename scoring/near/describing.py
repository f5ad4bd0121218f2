"""Rows that describe an image so that its copies have nearly the same ones, and the pairs that are alike in them.

The magnitudes of an image's spectrum stand still when it is moved, and change places when it is mirrored or turned:
four values each. Sorted, they stand still then too, so that one search finds copies of every way round; whether two
images are alike in one and the same way is asked of what it finds. The middle of an image is described as well: it is
that of a crop, and of what a frame surrounds.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft

from lossprint.scoring.duplicates import RADIUS, Pairs, neighbours_of, unit

DIMENSIONS = 64  # of the rows
INNER = (0.9, 0.8)  # shares of the side that a crop leaves
AROUND, INSIDE = 10, 4  # candidates an image: by its rows whatever way round, and by its middle
# Of each place of the spectrum, in `_spectra`, the values of an image: plain, mirrored, transposed, both.
WAYS = ([0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0])
SEEN = 2  # grey levels of deviation below which an image shows nothing
SOME, BLOCK = 4096, 512


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be copies: similarity is the cosine of their rows, the better of all ways round and crops.

    still (P,): the same of those ways alone that leave an image in its place, as it is or mirrored.
    """

    pairs: Pairs
    still: np.ndarray

    def best(self, value: np.ndarray, count: int) -> np.ndarray:
        """(P,) bool: which are of the `count` of the highest value (P,) of their first image."""
        order = np.lexsort((-value, self.pairs.first))
        first = self.pairs.first[order]
        kept = np.zeros(len(value), bool)
        kept[order] = np.arange(len(first)) - np.searchsorted(first, first) < count
        return kept


def candidates(grey: np.ndarray) -> Candidates:
    """Pairs of square images (N, S, S), grey levels 0 to 255, that are alike in their spectra. About 2 kB an image."""
    size = len(grey)
    spectra = _spectra(grey)
    plain, sort = _Axes(spectra, WAYS[0]), _Axes(spectra, None)
    whatever = sort.rows(spectra)
    ways = [plain.rows(spectra, way) for way in WAYS]
    del spectra
    inner = [plain.rows(_spectra(grey, share)) for share in INNER]
    middle = unit(sum(inner))
    keys = [
        neighbours_of([(whatever, whatever)], AROUND),
        neighbours_of([(middle, ways[0]), (ways[0], middle)], INSIDE),
    ]
    del whatever, middle
    first, second = np.divmod(np.unique(np.concatenate(keys)), max(1, size))
    seen = np.concatenate([part.reshape(len(part), -1).std(axis=1) > SEEN for part in _parts(grey)])
    kept = seen[first] & seen[second]
    first, second = first[kept], second[kept]
    still = _alike([(ways[0], ways[0]), (ways[1], ways[0])], first, second)
    others = [(ways[2], ways[0]), (ways[3], ways[0])]
    others += [pair for one in inner for pair in ((one, ways[0]), (ways[0], one))]
    best = np.maximum(still, _alike(others, first, second))
    return Candidates(Pairs(first, second, np.clip(best, 0, 1).astype(float)), still)


def colours(pixels: np.ndarray, side: int = 16, dimensions: int = 48) -> np.ndarray:
    """Rows (N, dimensions) float32 whose distances are about those of the images (N, S, S, 3) at `side` pixels."""
    edges = np.linspace(0, pixels.shape[1], side + 1)
    at = np.arange(pixels.shape[1])
    share = np.clip(np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at), 0, None)
    share = (share / share.sum(axis=1, keepdims=True)).astype(np.float32)

    def small(part: np.ndarray) -> np.ndarray:
        reduced = np.einsum("iy,nyxc->nixc", share, part.astype(np.float32), optimize=True)
        return np.einsum("jx,nixc->nijc", share, reduced, optimize=True).reshape(len(part), -1)

    some = small(pixels[:: max(1, len(pixels) // SOME)])
    mean = some.mean(axis=0)
    axes = _axes(some - mean, dimensions)
    return np.concatenate(
        [np.empty((0, axes.shape[1]), np.float32), *((small(p) - mean) @ axes for p in _parts(pixels))]
    )


class _Axes:
    """The directions in which the spectra of these images differ most, each place standardised over the images."""

    def __init__(self, spectra: np.ndarray, way: list[int] | None):
        self.sorted = way is None
        some = self.ordered(spectra[:: max(1, len(spectra) // SOME)], way)
        self.mean, self.scale = some.mean(axis=0), np.maximum(some.std(axis=0), 1e-6)
        self.axes = _axes((some - self.mean) / self.scale, DIMENSIONS)

    def ordered(self, spectra: np.ndarray, way: list[int] | None) -> np.ndarray:
        values = np.sort(spectra, axis=1) if self.sorted else spectra[:, way]
        return values.reshape(len(values), -1)

    def rows(self, spectra: np.ndarray, way: list[int] = WAYS[0]) -> np.ndarray:
        """Unit rows (N, D) float32."""
        parts = [(self.ordered(part, way) - self.mean) / self.scale @ self.axes for part in _parts(spectra)]
        return unit(np.concatenate([np.empty((0, self.axes.shape[1]), np.float32), *parts]))


def _axes(rows: np.ndarray, count: int) -> np.ndarray:
    """(D, count) orthogonal directions in which rows (N, D) about zero reach farthest."""
    return np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :count].astype(np.float32)


def _alike(alternatives, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) the best of the products of a pair's rows."""
    best = np.full(len(first), -1, np.float32)
    for start in range(0, len(first), 1 << 14):
        part = slice(start, start + (1 << 14))
        for one, other in alternatives:
            product = np.einsum("pd,pd->p", one[first[part]], other[second[part]])
            best[part] = np.maximum(best[part], product)
    return best


def _spectra(grey: np.ndarray, share: float = 1.0) -> np.ndarray:
    """(N, 4, F) float32: square roots of the magnitudes of low frequencies of images (N, S, S) of equal contrast.

    Both under a window that hides the border. The second axis is of `WAYS`. With a share of the middle of each image,
    enlarged to its size.
    """
    side = grey.shape[1]
    reach = min(RADIUS, (side - 1) // 2)
    window = np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1]).astype(np.float32)
    weights = window / window.sum()
    y, x = np.meshgrid(np.arange(reach + 1), np.arange(reach + 1), indexing="ij")
    used = (x**2 + y**2 <= reach**2) & ((x > 0) | (y > 0)) & (y <= x)
    y, x = y[used], x[used]
    places = (np.arange(side) - (side - 1) / 2) * share + (side - 1) / 2
    middle = np.maximum(1 - np.abs(places[:, None] - np.arange(side)), 0).astype(np.float32)
    out = np.empty((len(grey), 4, len(y)), np.float32)
    for start, block in zip(range(0, len(grey), BLOCK), _parts(grey)):
        block = block.astype(np.float32)
        block = block if share == 1 else middle @ block @ middle.T
        block -= (block * weights).sum(axis=(1, 2), keepdims=True)
        block /= np.maximum(np.sqrt((block**2 * weights).sum(axis=(1, 2), keepdims=True)), 1)
        spectrum = np.sqrt(np.abs(scipy.fft.rfft2(block * window)))
        for at, (row, column) in enumerate(((y, x), (-y, x), (x, y), (-x, y))):
            out[start : start + len(block), at] = spectrum[:, row, column]
    return out


def _parts(images: np.ndarray):
    return (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))
