"""Exact and near duplicates: groups of images with equal pixels, and pairs that are one picture processed twice.

Near pairs are searched in two steps. Candidates: each image's nearest neighbours in the embedding, and in the
magnitudes of its spectrum, a perceptual hash kept as real numbers: a shift leaves it alone and a mirror image permutes
it, so that mirrored and shifted copies are found whatever the embedding makes of them. Confirmation: the pixels are
laid over each other (mirrored or not, moved by up to 2 pixels and a fraction, brightness and contrast fitted), and what
is left must be no more than compression leaves, in grey levels. Look-alikes, such as two pairs of trousers, agree in
shape but not in grey levels. Images are small greyscale copies with values 0 to 255.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from lossprint.scoring.pairs import contenders, first_of_each

SHIFT = 2  # pixels searched in each direction
# The RMS of what is left, in grey levels, measured for this project. Copies (moved, +-5 % brightness, JPEG quality 60,
# a third mirrored, some moved by half a pixel): at most 4.2 on CIFAR-10 (1,280 images of 32 px), 3.6 on Fashion-MNIST
# (4,000 of 28 px). Different pictures most alike: 9 and more on CIFAR-10; 3.9 once, then 5.1 and more.
TOLERANCE = 4.5
RELATIVE = 0.4  # ... and at most this share of the picture's own detail (copies: 0.26; look-alikes on CIFAR-10: 1.1)
GAIN = 1.33  # contrast may differ by this factor
ALIGNED = 0.75  # correlation of details at whole-pixel alignment below which no fit is tried (copies: 0.86 and more)
FLAT = 1.0  # grey levels of detail (RMS) below which an image shows nothing to compare
RADIUS = 9  # spatial frequencies of the spectrum, in cycles an image
FEW, SHARE = 5, 0.03  # a group of more images than either, the share being of the dataset, is doubted
PAIR_BLOCK, ROW_ELEMENTS = 512, 1 << 22


@dataclass(frozen=True)
class Pairs:
    """first < second (P,) int64 indices, ordered; similarity (P,) in [0, 1]: the share of the detail's variance that
    one picture explains of the other (1: equal pixels).
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray

    def only(self, kept: np.ndarray) -> "Pairs":
        """Those that a mask (P,) keeps."""
        return Pairs(self.first[kept], self.second[kept], self.similarity[kept])


def exact_pairs(digests: Sequence[Hashable]) -> list[np.ndarray]:
    """Groups of two and more indices with equal digests, each ascending, ordered by their first member."""
    members: dict[Hashable, list[int]] = {}
    for index, digest in enumerate(digests):
        members.setdefault(digest, []).append(index)
    return [np.array(group, dtype=np.int64) for group in members.values() if len(group) > 1]


def groups(pairs: Pairs, size: int) -> list[np.ndarray]:
    """Connected components of two and more among `size` images, each ascending, ordered by their first member."""
    touched = np.unique(np.concatenate([pairs.first, pairs.second]))
    component = components(pairs.first, pairs.second, size)
    return [touched[group] for group in exact_pairs(component[touched].tolist())]


def components(first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    """The number of the connected component of each of `size` nodes, (size,), joined by edges first, second (P,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = first.astype(np.int32), second.astype(np.int32)  # SciPy 1.11 takes no others, and joins nothing
    edges = coo_array((np.ones(len(first), bool), ends), (size, size))
    return connected_components(edges, directed=False)[1]


def linked(pairs: Pairs, size: int) -> np.ndarray:
    """The group (size,) of each of `size` images by average linkage, -1 where it is in none of two and more.

    Beginning with the pairs most alike, two groups are joined where at least half of all pairs between them are among
    the pairs given: members resemble each other, and are not only joined by a chain of others. Time grows with the
    number of pairs.
    """
    order = np.argsort(-pairs.similarity, kind="stable")
    edges = list(zip(pairs.first[order].tolist(), pairs.second[order].tolist()))
    home = {image: image for edge in edges for image in edge}  # the group of each image, named by one of its members
    members = {image: [image] for image in home}
    between: dict[int, dict[int, int]] = {image: {} for image in home}  # pairs given between two groups
    for first, second in edges:
        between[first][second] = between[second][first] = 1
    joined = True
    while joined:
        joined, left = False, []
        for first, second in edges:
            one, other = home[first], home[second]
            if one == other:
                continue
            if 2 * between[one][other] < len(members[one]) * len(members[other]):
                left.append((first, second))
                continue
            if len(members[one]) < len(members[other]):
                one, other = other, one
            for image in members[other]:
                home[image] = one
            members[one] += members.pop(other)
            for third, count in between.pop(other).items():
                del between[third][other]
                if third != one:
                    between[one][third] = between[third][one] = between[one].get(third, 0) + count
            joined = True
        edges = left
    group = np.full(size, -1)
    for image, name in home.items():
        if len(members[name]) > 1:
            group[image] = name
    return group


def doubted(group: np.ndarray) -> np.ndarray:
    """Which images (N,) are in a group too large to be believed: more than `FEW` images and `SHARE` of all.

    group (N,) as `linked` gives it.
    """
    inside = group >= 0
    count = np.bincount(group[inside], minlength=len(group))
    large = count > max(FEW, SHARE * len(group))
    return inside & large[np.maximum(group, 0)]


def near_pairs(
    vectors: np.ndarray | None,
    thumbs: np.ndarray,
    *,
    neighbours: int = 10,
    tolerance: float = TOLERANCE,
    among: tuple[np.ndarray, np.ndarray] | None = None,
) -> Pairs:
    """Pairs of images that are one picture: vectors (N, D) embeddings or None, thumbs (N, H, W) grey levels 0 to 255.

    Exact copies are among them. `neighbours` candidates an image come from each source; `tolerance` is the RMS
    residual allowed, in grey levels. An image without detail, such as a blank one, is nobody's duplicate. among:
    candidates first < second (C,) in place of those of the spectra. Working memory: about 5 bytes a pixel of `thumbs`,
    and 60 MB.
    """
    thumbs = np.asarray(thumbs)
    if thumbs.ndim != 3 or min(thumbs.shape[1:], default=0) < 4 * SHIFT:
        raise ValueError(f"thumbs must be (N, H, W) with at least {4 * SHIFT} pixels a side, got {thumbs.shape}")
    if np.issubdtype(thumbs.dtype, np.floating) and 0 < thumbs.max(initial=0) <= 1:
        raise ValueError(f"thumbs must hold grey levels 0 to 255, the largest is {thumbs.max()}")
    if vectors is not None and (np.ndim(vectors) != 2 or len(vectors) != len(thumbs)):
        raise ValueError(f"vectors {np.shape(vectors)} and thumbs {thumbs.shape} must agree in N, the first axis")
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    detail = _in_blocks(_detail, thumbs)
    some = np.concatenate(
        [np.empty(0, bool), *(detail[at : at + 256].std(axis=(1, 2)) > FLAT for at in range(0, len(detail), 256))]
    )
    shown = np.flatnonzero(some)
    detail, images = (detail, thumbs) if some.all() else (detail[shown], thumbs[shown])
    if among is None:
        plain, mirrored = _spectra(images)
        found = [neighbours_of([(plain, plain), (mirrored, plain)], neighbours)]
    else:
        place = np.cumsum(some) - 1
        first, second = (part[some[among[0]] & some[among[1]]] for part in among)
        found = [place[first] * len(shown) + place[second]]
    if vectors is not None:
        rows = unit(np.nan_to_num(np.asarray(vectors, dtype=np.float32)[shown]))
        found.append(neighbours_of([(rows, rows)], neighbours))
    first, second = np.divmod(np.unique(np.concatenate(found)), max(1, len(shown)))
    similarity = np.full(len(first), np.nan)
    energy = _window_energy(detail)
    for start in range(0, len(first), PAIR_BLOCK):
        part = slice(start, start + PAIR_BLOCK)
        similarity[part] = _compare(images, detail, energy, first[part], second[part], tolerance)
    kept = np.isfinite(similarity)
    return Pairs(shown[first[kept]], shown[second[kept]], similarity[kept])


def neighbours_of(alternatives: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> np.ndarray:
    """Candidate pairs as i * N + j, i < j: for each i its k best j by the largest product of i's row in the first and
    j's row in the second of the alternatives, pairs of unit rows (N, D).
    """
    size, keys = len(alternatives[0][0]), []
    step = max(64, ROW_ELEMENTS // max(1, size))
    for start in range(0, size, step):
        stop = min(start + step, size)
        r = None
        for one, other in alternatives:
            product = one[start:stop] @ other[start:].T
            r = product if r is None else np.maximum(r, product, out=r)
        r[np.tri(*r.shape, dtype=bool)] = -2.0  # itself, and pairs seen from the other side
        row, column = contenders(r, min(k, r.shape[1]), 1)
        value = r[row, column]
        best, _ = first_of_each(row, value, k)
        best = best[value[best] > -1.5]
        keys.append((row[best] + start) * size + column[best] + start)
    return np.concatenate(keys) if keys else np.empty(0, np.int64)


def _spectra(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows (N, F) that describe each image and its mirror image, whatever their position in the frame.

    Square roots of the magnitudes of low spatial frequencies under a Hann window (which hides what a shift brings in at
    the border), each frequency standardised over the images so that what all of them share does not count.
    """
    height, width = images.shape[1:]
    reach = min(RADIUS, (min(height, width) - 1) // 2)
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    y, x = np.meshgrid(np.arange(-reach, reach + 1), np.arange(reach + 1), indexing="ij")
    used = (x**2 + y**2 <= reach**2) & ((x > 0) | (y > 0))
    y, x = y[used], x[used]

    def magnitudes(block: np.ndarray) -> np.ndarray:
        block = block - block.mean(axis=(1, 2), keepdims=True)
        spectrum = np.sqrt(np.abs(np.fft.rfft2(block * window)))
        return np.stack([spectrum[:, y, x], spectrum[:, -y, x]], axis=1).astype(np.float32)

    both = _in_blocks(magnitudes, images, (2, len(y)))
    if len(both):
        both -= both.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        both /= np.maximum(both.std(axis=(0, 1), dtype=np.float64), 1e-6).astype(np.float32)
    return unit(both[:, 0]), unit(both[:, 1])


def _compare(images, detail, energy, first, second, tolerance: float) -> np.ndarray:
    """similarity (P,) of the pairs, NaN where they are not one picture."""
    correlation, flipped, moved = _aligned(detail, energy, first, second)
    similarity = np.full(len(first), np.nan)
    tried = np.flatnonzero(correlation >= ALIGNED)
    if len(tried):
        left, right = first[tried], second[tried]
        residual, gain = _residual(images[left], images[right], flipped[tried], moved[tried])
        contrast = np.sqrt(np.minimum(energy[left, len(energy[0]) // 2], energy[right, moved[tried]]))
        share = residual / np.maximum(contrast, 1e-6)
        same = (residual <= tolerance) & (share <= RELATIVE) & (gain <= GAIN) & (gain >= 1 / GAIN)
        similarity[tried[same]] = 1 - share[same] ** 2
    return similarity


def _aligned(detail, energy, first, second) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best alignment of each pair: (correlation (P,), first one mirrored (P,) bool, index of the second's offset (P,)).

    The inner part of the first image is the template; padded with zeros to whole rows, it meets each offset of the
    second image as one contiguous product.
    """
    height, width = detail.shape[1:]
    inner = np.zeros((2, len(first), height - 2 * SHIFT, width), dtype=np.float32)
    core = detail[first][:, SHIFT:-SHIFT, SHIFT:-SHIFT]
    core = core - core.mean(axis=(1, 2), keepdims=True)
    core /= np.maximum(np.sqrt(np.einsum("pyx,pyx->p", core, core)), 1e-6)[:, None, None]
    inner[0, :, :, : width - 2 * SHIFT] = core
    inner[1, :, :, : width - 2 * SHIFT] = core[:, :, ::-1]
    used = inner.shape[2] * width - 2 * SHIFT
    inner = np.ascontiguousarray(inner.reshape(2, len(first), -1)[:, :, :used])
    whole = detail[second].reshape(len(second), -1)
    scale = 1 / np.sqrt(np.maximum(energy[second] * core[0].size, 1e-6))
    best = np.full(len(first), -2.0, dtype=np.float32)
    choice = np.zeros(len(first), dtype=np.int64)
    for offset, (dy, dx) in enumerate(_offsets()):
        begin = (SHIFT + dy) * width + SHIFT + dx
        for mirror in (0, 1):
            r = np.einsum("pl,pl->p", inner[mirror], whole[:, begin : begin + used]) * scale[:, offset]
            choice[r > best] = 2 * offset + mirror
            np.maximum(best, r, out=best)
    return best, choice % 2 == 1, choice // 2


def _residual(left, right, flipped, moved) -> tuple[np.ndarray, np.ndarray]:
    """(RMS of what is left (P,) grey levels, contrast of the first over the second (P,)) after the best fit.

    first = gain * second + offset + step . gradient, by least squares: the last term moves by a fraction of a pixel, to
    first order. What is left is blurred by 0.7 pixel, since compression errs in fine detail and different pictures
    differ in coarser parts too, and is shared between both images.
    """
    left, right = _blurred(left.astype(np.float32), 0.7), _blurred(right.astype(np.float32), 0.7)
    left[flipped] = left[flipped, :, ::-1]
    height, width = left.shape[1] - 2 * SHIFT, left.shape[2] - 2 * SHIFT
    dy, dx = np.array(list(_offsets()))[moved].T
    rows = (SHIFT + dy)[:, None] + np.arange(height)
    columns = (SHIFT + dx)[:, None] + np.arange(width)
    right = right[np.arange(len(right))[:, None, None], rows[:, :, None], columns[:, None, :]]
    left = left[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
    slopes = np.gradient((left + right) / 2, axis=(1, 2))
    terms = np.stack([right, *slopes], axis=1).reshape(len(left), 3, -1).astype(np.float64)
    terms -= terms.mean(axis=2, keepdims=True)
    target = left.reshape(len(left), -1).astype(np.float64)
    target -= target.mean(axis=1, keepdims=True)
    normal = np.einsum("pan,pbn->pab", terms, terms) + 1e-6 * np.eye(3)
    fit = np.linalg.solve(normal, np.einsum("pan,pn->pa", terms, target)[:, :, None])
    rest = target - np.einsum("pan,pa->pn", terms, fit[:, :, 0])
    gain = np.maximum(fit[:, 0, 0], 1e-3)
    return np.sqrt((rest**2).mean(axis=1) / gain), gain


def _window_energy(detail: np.ndarray) -> np.ndarray:
    """(N, offsets) mean squared detail about its mean in the inner part of the frame, moved by each offset."""
    height, width = (size - 2 * SHIFT for size in detail.shape[1:])
    energy = np.empty((len(detail), (2 * SHIFT + 1) ** 2), dtype=np.float32)
    for index, (dy, dx) in enumerate(_offsets()):
        part = detail[:, SHIFT + dy : SHIFT + dy + height, SHIFT + dx : SHIFT + dx + width]
        energy[:, index] = np.einsum("nyx,nyx->n", part, part) / (height * width) - part.mean(axis=(1, 2)) ** 2
    return energy


def _offsets():
    """(dy, dx) of every whole-pixel shift; the middle one is no shift."""
    return ((dy, dx) for dy in range(-SHIFT, SHIFT + 1) for dx in range(-SHIFT, SHIFT + 1))


def _detail(block: np.ndarray) -> np.ndarray:
    """The picture without what is coarser than about 2 pixels, and without the finest noise."""
    return _blurred(block, 0.7) - _blurred(block, 2.0)


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (B, H, W) images, the border repeated."""
    reach = int(3 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    taps /= taps.sum()
    for axis in (1, 2):
        edges = [(reach, reach) if along == axis else (0, 0) for along in range(3)]
        padded = np.pad(images, edges, mode="edge")
        size = images.shape[axis]
        images = sum(tap * padded.take(range(at, at + size), axis=axis) for at, tap in enumerate(taps))
    return images


def _in_blocks(function, images: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """function of blocks of float32 images, results (..., *shape) side by side."""
    out = np.empty((len(images), *(shape or images.shape[1:])), dtype=np.float32)
    for start in range(0, len(images), 256):
        out[start : start + 256] = function(images[start : start + 256].astype(np.float32))
    return out


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) of length 1."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return np.ascontiguousarray(rows / np.maximum(lengths, 1e-12))
