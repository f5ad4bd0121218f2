"""Whether two images that may be one picture are one, judged by how different the dataset's images are anyway.

Candidates of copies that were changed more than `duplicates.near_pairs` allows, `changed_pairs`: the magnitudes of an
image's spectrum stand still when it is moved, and change places when it is mirrored or turned; those of its inner part
are those of a crop.

`confirmed` lays one image over the other (turned or mirrored, moved, scaled, brightness and contrast fitted, an affine
map found by Gauss-Newton) and compares what is left, in colour, with what is left of other images that resemble the
first one most. Of a copy far less is left. Photos of a fixed camera, readings of one meter or shades of one template
differ from each other about as much as from their likeliest copy, whatever the resolution: they are none. No tolerance
in grey levels decides.
"""

from collections.abc import Callable

import numpy as np

from lossprint.scoring.duplicates import RADIUS, Pairs, neighbours_of, unit

SIDE = 64  # pixels a side at most on which images are compared
DIMENSIONS = 64  # of the descriptors that candidates are found with
INNER = (0.9, 0.8)  # shares of the side that a crop leaves
LEAST = 0.3  # cosine of two descriptors from which a pair is a candidate
AMONG = 4  # candidates an image
# One minus the cosine of a pair is at most this share of that of each of the two images' next candidates but `OTHERS`.
# Measured on CIFAR-10, Fashion-MNIST and flowers: 99 of 100 other pairs over 0.75, nine in ten copies below.
STANDS_OUT, OTHERS = 0.75, 2
# What is left of a copy, as energy, is at most this share of what is left of the image's `RIVAL`-th nearest other one.
# Measured on the same: of 64 px 0.06 and less for most crops, frames and turns, 0.09 and more for look-alikes; of 28 px
# 0.04, and 0.055 and more, since small pictures show less. The second of each is of pairs that lie on each other to
# compression's errors anyway, see `duplicates.near_pairs`: 0.13 and less of 28 px; meters of 64 px: over 0.12.
RATIOS, RATIOS_SMALL, SMALL = (0.07, 0.12), (0.045, 0.18), 48
# The same of a changed copy, where each of `MAPPED` others may be mapped as freely; the second best of them counts.
FAIR, MAPPED = 0.25, 5
NEAREST, RIVAL = 12, 4
# A map lays any square on any other: least share of a picture whose grey changes by more than `EDGE` levels a pixel,
# below which only pairs of `duplicates.near_pairs` are copies. Icons: 0.1 and less; Fashion-MNIST and photos: over 0.2.
DETAILED, EDGE = 0.12, 2.0
LIKE = 0.1  # share of a picture's variance below which what is left is so little that it looks like a copy
COLOURLESS = 2.0  # mean levels between channels
FLOOR = 1.0  # grey levels squared that compression and rounding leave of anything
# A watermark changes part of a picture: up to this share of it may differ, if that tells the picture from others not
# much more than any other part of that size does. (The changed digit of a meter does.)
SPOILT, TELLING = 0.2, 1.5
SOME = 128  # images whose variance says how telling each part is
BLOCKS = 14  # a side, of which parts of a picture are made
OVERLAP = 0.55  # least share of each picture that both show
SCALES = (0.74, 1.35)  # between which the map may stretch either side
ASPECT, TURN = 1.2, 0.1  # how differently it may stretch them, and how far it may turn, radians
GAIN = 2.0  # contrast may differ by this factor
STEPS = 10
STARTS = (1.0, 0.89, 1.12, 0.79, 1.26)  # scales from which a map is sought
# Shares of the variance left of a coarse picture: none better is sought; no map is refined.
EXPLAINED, HOPELESS = 0.04, 0.5
# The eight ways to lay a square on itself: (transposed, turned upside down, mirrored). The variant of the spectrum that
# shows each: 0 plain, 1 mirrored, 2 transposed, 3 transposed and mirrored.
WAYS = [(t, v, h) for t in (False, True) for v in (False, True) for h in (False, True)]
MIRROR = 1  # in WAYS: left and right exchanged

Pictures = Callable[[np.ndarray], np.ndarray]  # rows (B,) -> (B, S, S, 3) uint8


def changed_pairs(grey: np.ndarray) -> Pairs:
    """Candidates of crops, frames, turned, mirrored and brightened copies: grey (N, S, S) grey levels 0 to 255.

    similarity: the cosine of their descriptors. Memory: about 1 kB an image.
    """
    size = len(grey)
    if size < 2 or grey.shape[1] != grey.shape[2]:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    plain = _magnitudes(grey)
    mean, scale = plain[:, 0].mean(axis=0), np.maximum(plain[:, 0].std(axis=0), 1e-6)
    base = (plain[:, 0] - mean) / scale
    some = base[:: max(1, size // 4096)]
    axes = np.linalg.eigh(some.T @ some)[1][:, ::-1][:, :DIMENSIONS].astype(np.float32)
    rows = [unit((plain[:, at] - mean) / scale @ axes) for at in range(4)]
    del plain
    inner = [unit((_magnitudes(_inner(grey, share), 1)[:, 0] - mean) / scale @ axes) for share in INNER]
    alternatives = [(rows[at], rows[0]) for at in range(4)]
    alternatives += [pair for one in inner for pair in ((one, rows[0]), (rows[0], one))]
    first, second = np.divmod(neighbours_of(alternatives, AMONG), size)
    score = np.max([np.einsum("pd,pd->p", one[first], other[second]) for one, other in alternatives], axis=0)
    shown = grey.reshape(size, -1).std(axis=1) > 2
    kept = shown[first] & shown[second]
    found = Pairs(first[kept], second[kept], np.clip(score[kept], 0, 1).astype(float))
    return found.only((found.similarity >= LEAST) & standing_out(found, size, STANDS_OUT, OTHERS))


def standing_out(pairs: Pairs, size: int, share: float, others: int) -> np.ndarray:
    """(P,) bool: whether a pair is much more alike than its images are to the rest of their candidates.

    One minus its similarity is at most `share` of that of each image's candidate after the best `others`, this pair not
    counted; of an image with no more candidates than that nothing is asked.
    """
    both = np.concatenate([pairs.first, pairs.second])
    value = np.tile(pairs.similarity, 2)
    order = np.lexsort((-value, both))
    start = np.searchsorted(both[order], np.arange(size + 1))
    rank = np.empty(len(both), np.int64)
    rank[order] = np.arange(len(both)) - start[both[order]]
    place = start[both] + others + (rank <= others)
    known = place < start[both + 1]
    next_one = np.where(known, value[order][np.minimum(place, len(both) - 1)] if len(both) else 0, -np.inf)
    enough = 1 - value <= share * (1 - next_one) + 1e-9
    return enough[: len(pairs.first)] & enough[len(pairs.first) :]


def confirmed(
    pairs: Pairs, vectors: np.ndarray, pictures: Pictures, near: np.ndarray | None = None
) -> tuple[Pairs, np.ndarray]:
    """Those pairs that are copies, with the share of the picture that they explain, and who resembles many as much.

    near (P,) bool: which of them are of `duplicates.near_pairs`, whose similarity stays. vectors
    (N, D) float32: the images as small colour pictures, by which the others that an image resembles are found.
    The second: (N,) bool, images of a pair that looked like copies but for the others that look alike as well.
    """
    alike = np.zeros(len(vectors), bool)
    kept, similarity = np.zeros(len(pairs.first), bool), np.zeros(len(pairs.first))
    if not len(pairs.first):
        return pairs, alike
    rivals = _Rivals(vectors, pictures)
    for at, (i, j) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist())):
        left, right = rivals.picture(i), rivals.picture(j)
        grey = _colourless(left) != _colourless(right)  # one may be made of the other
        left, right = (_greyed(left), _greyed(right)) if grey else (left, right)
        found = _laid_over(left, right)
        if found is None:
            continue
        rest, inside = found
        contrast = left.reshape(-1, 3).std(axis=0).max() ** 2
        if rest[inside].mean() > contrast + FLOOR:
            continue
        ratio = max(
            _ratio(rest, inside, rivals.of(i, j, grey), rivals.telling),
            _ratio(rest, inside, rivals.of(j, i, grey)),
        )
        of_near = bool(near is not None and near[at])
        kept[at] = ratio <= (RATIOS if len(left) >= SMALL else RATIOS_SMALL)[of_near]
        if kept[at] and not of_near:  # a map fits many a picture on another
            kept[at] = min(_detail(left), _detail(right)) >= DETAILED and (
                rest[inside].mean() + FLOOR <= FAIR * (rivals.mapped(i, j, grey) + FLOOR)
            )
        explained = 1 - rest[inside].mean() / max(contrast, FLOOR)
        similarity[at] = pairs.similarity[at] if of_near else np.clip(explained, 0, 1)
        if not kept[at] and rest[inside].mean() < LIKE * contrast:
            alike[[i, j]] = True
    found = pairs.only(kept)
    return Pairs(found.first, found.second, similarity[kept]), alike


def _colourless(image: np.ndarray) -> bool:
    return bool(np.abs(image - image.mean(axis=2, keepdims=True)).mean() < COLOURLESS)


def _greyed(image: np.ndarray) -> np.ndarray:
    return np.repeat((image @ np.array([0.299, 0.587, 0.114], np.float32))[..., None], 3, axis=2)


def _detail(image: np.ndarray) -> float:
    """The share of a picture (S, S, 3) that is no plain area."""
    return float((np.hypot(*np.gradient(image.mean(axis=2))) > EDGE).mean())


class _Rivals:
    """What is left of each image when those others are laid over it that resemble it most, worked out once."""

    def __init__(self, vectors: np.ndarray, pictures: Pictures):
        self.vectors, self.pictures = vectors, pictures
        self.lengths = np.einsum("nd,nd->n", vectors, vectors)
        self.held: dict[int, np.ndarray] = {}
        some = pictures(np.linspace(0, len(vectors) - 1, min(SOME, len(vectors))).astype(int)).astype(np.float32)
        self.telling = _blocks(some.var(axis=0).mean(axis=2)) + FLOOR
        self.rests: dict[tuple[int, bool], tuple[np.ndarray, np.ndarray]] = {}

    def picture(self, row: int) -> np.ndarray:
        if row not in self.held:
            if len(self.held) > 4096:
                self.held.clear()
            self.held[row] = self.pictures(np.array([row]))[0].astype(np.float32)
        return self.held[row]

    def of(self, row: int, partner: int, grey: bool) -> np.ndarray:
        """(R, BLOCKS, BLOCKS) energy that is left of the image by each of the others but the partner, least first."""
        if (row, grey) not in self.rests:
            distance = self.lengths - 2 * (self.vectors @ self.vectors[row])
            distance[row] = np.inf
            count = min(NEAREST + 1, len(distance) - 1)
            nearest = np.argpartition(distance, count - 1)[:count]
            seen = (lambda one: _greyed(self.picture(one))) if grey else self.picture
            rests = np.array([_blocks(_once(seen(row), seen(one))) for one in nearest.tolist()])
            self.rests[row, grey] = nearest, rests
        nearest, rests = self.rests[row, grey]
        rests = rests[nearest != partner]
        return rests[np.argsort(rests.mean(axis=(1, 2)), kind="stable")]

    def mapped(self, row: int, partner: int, grey: bool) -> float:
        """Mean energy that is left of the image by the second best of a few others, each mapped as a copy would be."""
        self.of(row, partner, grey)
        nearest, rests = self.rests[row, grey]
        seen = (lambda one: _greyed(self.picture(one))) if grey else self.picture
        others = [one for one in nearest[np.argsort(rests.mean(axis=(1, 2)))].tolist() if one != partner][:MAPPED]
        laid = [_laid_over(seen(row), seen(one), 1, STARTS[:3]) for one in others]
        left = sorted(float(rest[inside].mean()) for rest, inside in filter(None, laid))
        return left[1] if len(left) > 1 else np.inf


def _ratio(rest: np.ndarray, inside: np.ndarray, rivals: np.ndarray, telling: np.ndarray | None = None) -> float:
    """What is left (S, S), where both show something, over what is left of the rival; watermarks passed over.

    telling: how much each part tells images apart. None: of the second picture, of which only the whole is known, since
    the map is of the first.
    """
    if not len(rivals):
        return 0.0
    rival = rivals[min(RIVAL, len(rivals)) - 1]
    area = _blocks(inside.astype(np.float32))
    left = _blocks(np.where(inside, rest, 0))
    if telling is None:
        rival, telling = np.full_like(rival, rival.mean()), np.ones_like(area)
    telling = telling * area
    off = left > rival.mean() * area / 2
    covers, tells = (one[off].sum() / max(one.sum(), 1e-6) for one in (area, telling))
    spoilt = off if covers <= SPOILT and tells <= TELLING * covers else np.zeros_like(off)
    kept = ~spoilt
    here = max(area[kept].sum(), 1e-6)
    return float((left[kept].sum() / here + FLOOR) / ((rival * area)[kept].sum() / here + FLOOR))


# ------------------------------------------------------------------------------------------------ laid over each other


def _laid_over(left, right, ways: int = 2, starts=STARTS) -> tuple[np.ndarray, np.ndarray] | None:
    """(energy that is left of the first picture (S, S), where both show something (S, S) bool), of the best way."""
    best = None
    for way, shift in _likely(left, right, ways):
        laid = _registered(left, turned(right, WAYS[way]), shift, starts)
        if laid is not None and (best is None or laid[0][laid[1]].mean() < best[0][best[1]].mean()):
            best = laid
    return best


def turned(image: np.ndarray, way: tuple[bool, bool, bool]) -> np.ndarray:
    """A square image (S, S, ...) laid on itself in one of the eight ways."""
    transposed, down, mirrored = way
    image = image.swapaxes(0, 1) if transposed else image
    image = image[::-1] if down else image
    return image[:, ::-1] if mirrored else image


def _likely(left: np.ndarray, right: np.ndarray, most: int) -> list[tuple[int, tuple[int, int]]]:
    """The ways, and shifts in pixels, in which two pictures agree most, by the correlation of their greys."""
    side = left.shape[0]
    window = np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1])
    one, other = left.mean(axis=2), right.mean(axis=2)
    one, other = (one - one.mean()) * window, (other - other.mean()) * window
    spectrum = np.fft.rfft2(one)
    found, reach = [], max(2, side // 8)
    for at, way in enumerate(WAYS):
        r = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(turned(other, way))), s=one.shape)
        r = np.roll(r, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
        y, x = np.unravel_index(r.argmax(), r.shape)
        found.append((float(r.max()), at, (int(y) - reach, int(x) - reach)))
    found.sort(key=lambda entry: -entry[0])
    return [(at, shift) for value, at, shift in found[:most] if value > 0]


def _registered(left, right, shift: tuple[int, int], starts) -> tuple[np.ndarray, np.ndarray] | None:
    """As `_laid_over`, of pictures that lie the same way round; None where no sensible map is found.

    The map takes places of the left picture to places of the right one, both counted from the middle. It is sought from
    several scales in pictures of half the size, and the best one is refined.
    """
    one, other = left.mean(axis=2), right.mean(axis=2)
    small = _halved(one), _halved(other)
    best, least = None, np.inf
    for start in starts:
        begun = np.eye(2) * start, -np.array(shift) * start / 2
        found = _descended(*small, *begun, len(small[0]) / 24, STEPS)
        if found is not None and found[2] < least:
            best, least = found[:2], found[2]
        if least < EXPLAINED:
            break
    if best is None or least > HOPELESS:
        return None
    refined = _descended(one, other, best[0], 2 * best[1], len(one) / 64, STEPS)
    return None if refined is None else _rest(left, right, *refined[:2])


def _halved(image: np.ndarray) -> np.ndarray:
    side = len(image) // 2 * 2
    return image[:side, :side].reshape(side // 2, 2, side // 2, 2).mean(axis=(1, 3))


def _descended(one, other, matrix, move, sigma: float, steps: int):
    """(matrix, move, share of one's variance that is left) after Gauss-Newton on greys blurred by sigma; or None."""
    from scipy.ndimage import gaussian_filter

    side = len(one)
    centre = (side - 1) / 2
    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32(centre)
    one, other = gaussian_filter(one, sigma), gaussian_filter(other, sigma)
    slopes = np.gradient(other)
    left, rest = np.inf, np.empty(0)
    for _ in range(steps):
        places = _places(matrix, move, y, x, centre)
        inside = _within(places, side)
        if inside.mean() < OVERLAP:
            return None
        places = places[:, inside]
        warped, dy, dx = (_sampled(layer, places) for layer in (other, *slopes))
        ys, xs, target = y[inside], x[inside], one[inside]
        terms = np.stack([warped, np.ones_like(warped), dy, dx, dy * ys, dy * xs, dx * ys, dx * xs])
        # What a watermark covers is not to pull the map: what is far off counts less.
        weights = 1 / (1 + (rest / (3 * np.median(np.abs(rest)) + 2)) ** 2) if len(rest) == len(target) else 1.0
        weighted = terms * weights
        fit = np.linalg.solve((weighted @ terms.T).astype(np.float64) + 1e-3 * np.eye(8), weighted @ target)
        rest = target - fit[:2] @ terms[:2]
        left = min(left, float(np.minimum(rest**2, 4 * np.median(rest**2) + 4).mean() / max(target.var(), 1e-3)))
        step, shift = fit[4:].reshape(2, 2) / max(fit[0], 0.2), fit[2:4] / max(fit[0], 0.2)
        matrix, move = matrix + np.clip(step, -0.1, 0.1), move + np.clip(shift, -2, 2)
        if np.abs(step).max() * centre < 0.03 and np.abs(shift).max() < 0.03:
            break
    return matrix, move, left


def _rest(left, right, matrix, move) -> tuple[np.ndarray, np.ndarray] | None:
    side = left.shape[0]
    stretch = np.linalg.svd(matrix, compute_uv=False)
    turn = np.arctan2(matrix[1, 0] - matrix[0, 1], matrix[0, 0] + matrix[1, 1])
    if stretch[1] < SCALES[0] or stretch[0] > SCALES[1] or stretch[0] > ASPECT * stretch[1] or abs(turn) > TURN:
        return None
    centre = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - centre
    places = _places(matrix, move, y, x, centre)
    inside = _within(places, side)
    if inside.mean() < OVERLAP or inside.mean() * abs(np.linalg.det(matrix)) < OVERLAP:
        return None
    warped = np.stack([_sampled(right[..., channel], places) for channel in range(3)], axis=-1)
    energy = _fitted(left[inside], warped[inside])
    if energy is None:
        return None
    rest = np.zeros((side, side), np.float32)
    rest[inside] = energy
    return rest, inside


def _once(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """What is left of a picture (S, S) by another laid over it as it is; brightness, contrast, a small move fitted."""
    slopes = np.gradient(right.mean(axis=2))
    terms = np.stack([right.mean(axis=2), np.ones_like(slopes[0]), *slopes], -1).reshape(-1, 4)
    fit = np.linalg.lstsq(terms.T @ terms + 1e-3 * np.eye(4), terms.T @ left.mean(axis=2).ravel(), rcond=None)[0]
    y, x = np.clip(fit[2:4] / max(abs(fit[0]), 0.2), -2, 2)
    places = np.mgrid[: len(left), : len(left)] + np.array([y, x])[:, None, None]
    warped = np.stack([_sampled(right[..., channel], places) for channel in range(3)], axis=-1)
    energy = _fitted(left.reshape(-1, 3), warped.reshape(-1, 3), GAIN)
    return energy.reshape(left.shape[:2])


def _fitted(left: np.ndarray, right: np.ndarray, most: float | None = None) -> np.ndarray | None:
    """Energy left (P,), mean of the channels, of colours left (P, 3) by colours right (P, 3).

    One gain and one offset for all channels. The picture of less contrast is fitted to that of more, cut to 0..255 as
    brightening cuts it, and both err by the same share. None where the gain is out of `GAIN`, unless it is held to it.
    """
    one, other = left - left.mean(), right - right.mean()
    spread, wide = np.sqrt((one**2).mean()), np.sqrt((other**2).mean())
    if spread < 1e-3 or wide < 1e-3:
        return (one - other).astype(np.float32).__pow__(2).mean(axis=1)
    target, source = (left, right) if spread >= wide else (right, left)
    used = ((target > 3) & (target < 252)) | ((source <= 3) | (source >= 252))
    used = used if used.mean() > 0.2 else np.ones_like(used)
    x, y = source[used].astype(np.float64), target[used].astype(np.float64)
    for _ in range(2):  # the second time without what is far off, such as a watermark
        gain = float(((x - x.mean()) * (y - y.mean())).mean()) / max(float(x.var()), 1e-6)
        off = np.abs(y - y.mean() - gain * (x - x.mean()))
        near = off <= np.quantile(off, 1 - SPOILT)
        if not near.any() or x[near].var() < 1:
            break
        x, y = x[near], y[near]
    gain = float(((x - x.mean()) * (y - y.mean())).mean()) / max(float(x.var()), 1e-6)
    if most is None and not (1 / GAIN <= gain <= GAIN):
        return None
    gain = float(np.clip(gain, 1 / GAIN, GAIN))
    guess = np.clip(gain * (source - x.mean()) + y.mean(), 0, 255)
    factor = (spread / max(spread, wide)) ** 2  # in levels of the left picture
    return (((target - guess) ** 2).mean(axis=1) * factor).astype(np.float32)


def _places(matrix, move, y, x, centre: float) -> np.ndarray:
    return np.stack(
        [matrix[0, 0] * y + matrix[0, 1] * x + move[0] + centre, matrix[1, 0] * y + matrix[1, 1] * x + move[1] + centre]
    )


def _within(places: np.ndarray, side: int) -> np.ndarray:
    return ((places >= 0) & (places <= side - 1)).all(axis=0)


def _sampled(layer: np.ndarray, places: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    return map_coordinates(layer, places, order=1, mode="nearest")


def _blocks(values: np.ndarray) -> np.ndarray:
    """Means of (S, S) over about BLOCKS x BLOCKS parts."""
    edges = np.linspace(0, len(values), BLOCKS + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(values, edges, axis=0), edges, axis=1)
    sizes = np.diff([*edges, len(values)])
    return sums / np.outer(sizes, sizes)


# ------------------------------------------------------------------------------------------------ descriptors


def _magnitudes(grey: np.ndarray, variants: int = 4) -> np.ndarray:
    """(N, variants, F) float32: square roots of the magnitudes of low frequencies of images of equal contrast."""
    side = grey.shape[1]
    reach = min(RADIUS, (side - 1) // 2)
    window = np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1])
    y, x = np.meshgrid(np.arange(-reach, reach + 1), np.arange(reach + 1), indexing="ij")
    used = (x**2 + y**2 <= reach**2) & ((x > 0) | (y > 0))
    y, x = y[used], x[used]
    places = [(y, x), (-y, x), (x, y), (x, -y)][:variants]
    out = np.empty((len(grey), variants, len(y)), np.float32)
    for start in range(0, len(grey), 256):
        block = grey[start : start + 256].astype(np.float32)
        block = block - block.mean(axis=(1, 2), keepdims=True)
        block /= np.maximum(block.std(axis=(1, 2), keepdims=True), 1)
        spectrum = np.sqrt(np.abs(np.fft.fft2(block * window)))
        for at, (row, column) in enumerate(places):
            out[start : start + 256, at] = spectrum[:, row, column]
    return out


def _inner(grey: np.ndarray, share: float) -> np.ndarray:
    """The middle of each image (N, S, S), enlarged to its size, between pixels by straight lines."""
    side = grey.shape[1]
    places = (np.arange(side) - (side - 1) / 2) * share + (side - 1) / 2
    weights = np.maximum(1 - np.abs(places[:, None] - np.arange(side)), 0).astype(np.float32)
    out = np.empty_like(grey)
    for start in range(0, len(grey), 1024):
        out[start : start + 1024] = weights @ grey[start : start + 1024].astype(np.float32) @ weights.T
    return out
