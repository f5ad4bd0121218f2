"""One image laid over another, many pairs at once: turned or mirrored, moved, scaled, brightness and contrast fitted.

The map takes places of the first picture to places of the second one, both counted from the middle, and is found by
Gauss-Newton in pictures of half the size, then of the whole size. Pictures are (P, S, S, 3) float32 with levels 0 to
255; what is left of the first one is energy, grey levels squared.
"""

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

OVERLAP = 0.55  # least share of each picture that both show
SCALES = (0.74, 1.35)  # between which the map may stretch either side
ASPECT, TURN = 1.2, 0.1  # how differently it may stretch them, and how far it may turn, radians
GAIN = 2.0  # contrast may differ by this factor
STEPS = 10
STARTS = (1.0, 0.89, 1.12, 0.79, 1.26)  # scales from which a map is sought
# Shares of the variance left of a coarse picture: none better is sought; no map is refined.
EXPLAINED, HOPELESS = 0.04, 0.5
SECOND = 0.7  # share of the best way's correlation below which no other way is tried
SPOILT = 0.2  # share of a picture that a watermark may cover
SOME = 256  # pixels of a picture that tell the median of all of them
FEW = 392  # pixels by which brightness and contrast are fitted
# The eight ways to lay a square on itself: (transposed, turned upside down, mirrored).
WAYS = [(t, v, h) for t in (False, True) for v in (False, True) for h in (False, True)]
MIRROR = 1  # in WAYS: left and right exchanged


def laid_over(left: np.ndarray, right: np.ndarray, ways: int = 2, starts=STARTS) -> tuple[np.ndarray, np.ndarray]:
    """(energy that is left of the first picture (P, S, S), where both show something (P, S, S) bool), of the best way.

    Where there is no sensible map, the second is False all over.
    """
    way, shift, likely = _likely(left.mean(axis=3), right.mean(axis=3), ways)
    pair, rank = np.nonzero(likely)
    other = np.empty_like(right[pair])
    for at, how in enumerate(WAYS):
        rows = np.flatnonzero(way[pair, rank] == at)
        other[rows] = turned(right[pair[rows]], how)
    one = left[pair]
    matrix, move, share = _sought(one.mean(axis=3), other.mean(axis=3), shift[pair, rank], starts)
    rest, inside = _rest(one, other, matrix, move, share <= HOPELESS)
    mean = within(rest, inside)
    order = np.lexsort((mean, pair))
    best = order[np.unique(pair[order], return_index=True)[1]]
    rests, insides = np.zeros(left.shape[:3], np.float32), np.zeros(left.shape[:3], bool)
    rests[pair[best]], insides[pair[best]] = rest[best], inside[best]
    return rests, insides


def within(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(P,) mean of values (P, S, S) where inside (P, S, S); infinity where that is nowhere."""
    count = inside.sum(axis=(1, 2))
    return np.where(count > 0, (values * inside).sum(axis=(1, 2)) / np.maximum(count, 1), np.inf)


def turned(images: np.ndarray, way: tuple[bool, bool, bool]) -> np.ndarray:
    """Square images (P, S, S, ...) laid on themselves in one of the eight ways."""
    transposed, down, mirrored = way
    images = images.swapaxes(1, 2) if transposed else images
    images = images[:, ::-1] if down else images
    return images[:, :, ::-1] if mirrored else images


def _likely(one: np.ndarray, other: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ways (P, most), and shifts in pixels (P, most, 2), in which greys (P, S, S) agree most; which agree at all.

    By their correlation under a Hann window.
    """
    count, side = one.shape[:2]
    window = np.outer(np.hanning(side + 2)[1:-1], np.hanning(side + 2)[1:-1]).astype(np.float32)
    one, other = (image - image.mean(axis=(1, 2), keepdims=True) for image in (one, other))
    spectrum = scipy.fft.rfft2(one * window)
    reach = max(2, side // 8)
    near = np.arange(-reach, reach + 1)
    value, place = np.empty((count, len(WAYS)), np.float32), np.empty((count, len(WAYS)), np.int64)
    for at, way in enumerate(WAYS):
        r = scipy.fft.irfft2(spectrum * np.conj(scipy.fft.rfft2(turned(other, way) * window)), s=(side, side))
        r = r[:, near[:, None], near].reshape(count, -1)
        place[:, at] = r.argmax(axis=1)
        value[:, at] = r[np.arange(count), place[:, at]]
    order = np.argsort(-value, axis=1, kind="stable")[:, :most]
    best = np.take_along_axis(value, order, axis=1)
    shift = np.stack(np.divmod(np.take_along_axis(place, order, axis=1), len(near)), axis=-1) - reach
    return order, shift, best > np.maximum(0, SECOND * best[:, :1])


def _sought(one: np.ndarray, other: np.ndarray, shift: np.ndarray, starts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """matrix (P, 2, 2), move (P, 2) of the map of greys (P, S, S), and the share of variance left where it was coarse.

    Sought from several scales in pictures of half the size; the best one is refined.
    """
    small = _halved(one), _halved(other)
    count = len(one)
    matrix, move = np.tile(np.eye(2, dtype=np.float32), (count, 1, 1)), np.zeros((count, 2), np.float32)
    share = np.full(count, np.inf)
    for start in starts:
        rows = np.flatnonzero(share >= EXPLAINED)
        if not len(rows):
            break
        begun = np.tile(np.eye(2, dtype=np.float32) * start, (len(rows), 1, 1)), -shift[rows] * np.float32(start / 2)
        found = _descended(small[0][rows], small[1][rows], *begun, small[0].shape[1] / 24)
        better = found[2] < share[rows]
        for kept, new in zip((matrix, move, share), found):
            kept[rows[better]] = new[better]
    rows = np.flatnonzero(share <= HOPELESS)
    if len(rows):
        fine = _descended(one[rows], other[rows], matrix[rows], 2 * move[rows], one.shape[1] / 64)
        matrix[rows], move[rows] = fine[:2]
        share[rows[~np.isfinite(fine[2])]] = np.inf
    return matrix, move, share


def _halved(images: np.ndarray) -> np.ndarray:
    side = images.shape[1] // 2
    return images[:, : 2 * side, : 2 * side].reshape(len(images), side, 2, side, 2).mean(axis=(2, 4))


def _descended(one, other, matrix, move, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(matrix, move, share of one's variance that is left) after Gauss-Newton on greys (P, S, S) blurred by sigma.

    The share is infinite where the map leaves the picture.
    """
    count, side = one.shape[:2]
    centre = (side - 1) / 2
    y, x = (part.ravel() - np.float32(centre) for part in np.mgrid[:side, :side].astype(np.float32))
    one, other = (gaussian_filter(image, (0, sigma, sigma)) for image in (one, other))
    layers = np.stack([other, *np.gradient(other, axis=(1, 2))], axis=-1)
    one = one.reshape(count, -1)
    matrix, move = matrix.astype(np.float32), move.astype(np.float32)
    least, weights = np.full(count, np.inf), np.ones((count, side * side), np.float32)
    rows, lost = np.arange(count), np.zeros(count, bool)
    for _ in range(STEPS):
        places = _places(matrix[rows], move[rows], y, x, centre)
        inside = _within(places, side)
        enough = inside.mean(axis=1) >= OVERLAP
        lost[rows[~enough]] = True
        rows, places, inside = rows[enough], places[:, enough], inside[enough]
        if not len(rows):
            break
        warped, dy, dx = np.moveaxis(_sampled(layers, rows, places), 2, 0)
        target = one[rows]
        terms = np.stack([warped, np.ones_like(warped), dy, dx, dy * y, dy * x, dx * y, dx * x], axis=1)
        weighted = terms * (weights[rows] * inside)[:, None]
        normal = (weighted @ terms.transpose(0, 2, 1)).astype(np.float64) + 1e-3 * np.eye(8)
        fit = np.linalg.solve(normal, (weighted @ target[..., None]).astype(np.float64))[..., 0].astype(np.float32)
        rest = target - fit[:, :1] * warped - fit[:, 1:2]
        spread = _quantile(np.abs(rest), inside, 0.5)[:, None]
        size = inside.sum(axis=1)
        mean = (target * inside).sum(axis=1) / size
        variance = ((target - mean[:, None]) ** 2 * inside).sum(axis=1) / size
        left = (np.minimum(rest**2, 4 * spread**2 + 4) * inside).sum(axis=1) / size / np.maximum(variance, 1e-3)
        least[rows] = np.minimum(least[rows], left)
        # What a watermark covers is not to pull the map: what is far off counts less.
        weights[rows] = 1 / (1 + (rest / (3 * spread + 2)) ** 2)
        gain = np.maximum(fit[:, 0], 0.2)
        step, shift = fit[:, 4:].reshape(-1, 2, 2) / gain[:, None, None], fit[:, 2:4] / gain[:, None]
        matrix[rows] += np.clip(step, -0.1, 0.1)
        move[rows] += np.clip(shift, -2, 2)
        still = (np.abs(step).max(axis=(1, 2)) * centre < 0.03) & (np.abs(shift).max(axis=1) < 0.03)
        rows = rows[~still]
        if not len(rows):
            break
    least[lost] = np.inf
    return matrix, move, least


def _rest(left, right, matrix, move, tried: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `laid_over`, of pictures that lie the same way round and the map between them; tried (P,) bool."""
    count, side = left.shape[:2]
    stretch = np.linalg.svd(matrix, compute_uv=False)
    turn = np.arctan2(matrix[:, 1, 0] - matrix[:, 0, 1], matrix[:, 0, 0] + matrix[:, 1, 1])
    sensible = tried & (stretch[:, 1] >= SCALES[0]) & (stretch[:, 0] <= SCALES[1]) & (np.abs(turn) <= TURN)
    sensible &= stretch[:, 0] <= ASPECT * stretch[:, 1]
    centre = (side - 1) / 2
    y, x = (part.ravel() - np.float32(centre) for part in np.mgrid[:side, :side].astype(np.float32))
    rest, inside = np.zeros((count, side * side), np.float32), np.zeros((count, side * side), bool)
    rows = np.flatnonzero(sensible)
    places = _places(matrix[rows], move[rows], y, x, centre)
    both = _within(places, side)
    enough = np.minimum(1, np.abs(np.linalg.det(matrix[rows]))) * both.mean(axis=1) >= OVERLAP
    rows, places, both = rows[enough], places[:, enough], both[enough]
    if len(rows):
        energy, gain = _fitted(left[rows].reshape(len(rows), -1, 3), _sampled(right, rows, places), both)
        held = (gain >= 1 / GAIN) & (gain <= GAIN)
        rest[rows[held]], inside[rows[held]] = np.where(both, energy, 0)[held], both[held]
    return rest.reshape(-1, side, side), inside.reshape(-1, side, side)


def once(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """What is left (P, S, S) of pictures by others laid over them as they are; brightness, a small move fitted."""
    count, side = left.shape[:2]
    grey = right.mean(axis=3)
    terms = np.stack([grey, np.ones_like(grey), *np.gradient(grey, axis=(1, 2))], axis=1).reshape(count, 4, -1)
    normal = (terms @ terms.transpose(0, 2, 1)).astype(np.float64) + 1e-3 * np.eye(4)
    target = left.mean(axis=3).reshape(count, -1, 1)
    fit = np.linalg.solve(normal, (terms @ target).astype(np.float64))[..., 0].astype(np.float32)
    move = np.clip(fit[:, 2:] / np.maximum(np.abs(fit[:, :1]), 0.2), -2, 2)
    y, x = (part.ravel() for part in np.mgrid[:side, :side].astype(np.float32))
    places = np.stack([y + move[:, :1], x + move[:, 1:]])
    warped = _sampled(right, np.arange(count), places)
    return _fitted(left.reshape(count, -1, 3), warped, np.ones(warped.shape[:2], bool))[0].reshape(count, side, side)


def _fitted(left: np.ndarray, right: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(energy left (P, n), mean of the channels, of colours left by colours right, both (P, n, 3); gain (P,)).

    One gain and one offset for all channels, where inside (P, n). The picture of less contrast is fitted to that of
    more, cut to 0..255 as brightening cuts it, and both err by the same share. The gain is held to `GAIN`.
    """
    count = len(left)
    every = max(1, left.shape[1] // FEW)
    some = np.repeat(inside[:, ::every], 3, axis=1).astype(np.float32)
    left_some, right_some = left[:, ::every].reshape(count, -1), right[:, ::every].reshape(count, -1)
    left, right = left.reshape(count, -1), right.reshape(count, -1)
    spread, wide = (np.sqrt(_moments(image, image, some)[1]) for image in (left_some, right_some))
    up = (spread >= wide)[:, None]
    target, source = np.where(up, left_some, right_some), np.where(up, right_some, left_some)
    used = some * (((target > 3) & (target < 252)) | ((source <= 3) | (source >= 252)))
    used = np.where((used.sum(axis=1) > 0.2 * some.sum(axis=1))[:, None], used, some)
    for _ in range(2):  # the second time without what is far off, such as a watermark
        (x, y), variance, covariance = _moments(source, target, used)
        gain = covariance / np.maximum(variance, 1e-6)
        off = np.abs(target - y[:, None] - gain[:, None] * (source - x[:, None]))
        near = used * (off <= _quantile(off, used > 0, 1 - SPOILT)[:, None])
        varied = _moments(source, source, near)[1] >= 1
        used = np.where(varied[:, None], near, used)
    (x, y), variance, covariance = _moments(source, target, used)
    gain = covariance / np.maximum(variance, 1e-6)
    held = np.clip(gain, 1 / GAIN, GAIN)
    target, source = np.where(up, left, right), np.where(up, right, left)
    guess = np.clip(held[:, None] * (source - x[:, None]) + y[:, None], 0, 255)
    factor = (spread / np.maximum(np.maximum(spread, wide), 1e-3)) ** 2  # in levels of the left picture
    energy = ((target - guess) ** 2).reshape(count, -1, 3).mean(axis=2) * factor[:, None]
    blank = (spread < 1e-3) | (wide < 1e-3)
    if blank.any():
        plain = left[blank] - left[blank].mean(axis=1, keepdims=True)
        other = right[blank] - right[blank].mean(axis=1, keepdims=True)
        energy[blank] = ((plain - other) ** 2).reshape(len(plain), -1, 3).mean(axis=2)
        gain[blank] = 1
    return energy.astype(np.float32), gain


def _moments(one: np.ndarray, other: np.ndarray, weights: np.ndarray):
    """((means (P,) of both), variance (P,) of the first, covariance (P,)) under weights, all of (P, n)."""
    total = np.maximum(weights.sum(axis=1), 1e-6)
    x, y = (np.einsum("pn,pn->p", image, weights) / total for image in (one, other))
    off = (one - x[:, None]) * weights
    variance = np.einsum("pn,pn->p", off, one - x[:, None]) / total
    covariance = variance if one is other else np.einsum("pn,pn->p", off, other - y[:, None]) / total
    return (x, y), variance, covariance


def _quantile(values: np.ndarray, inside: np.ndarray, share: float) -> np.ndarray:
    """(P,) quantile of values (P, n) where inside, told by some of them."""
    every = max(1, values.shape[1] // SOME)
    some, there = values[:, ::every], inside[:, ::every]
    order = np.sort(np.where(there, some, np.inf), axis=1)
    at = np.maximum(there.sum(axis=1) - 1, 0) * share
    return order[np.arange(len(order)), at.astype(np.int64)].astype(np.float32)


def _places(matrix, move, y, x, centre: float) -> np.ndarray:
    """(2, P, n) places in the second picture of places y, x (n,) from the middle of the first one."""
    along = matrix[:, :, :1] * y + matrix[:, :, 1:] * x + move[:, :, None] + np.float32(centre)
    return along.transpose(1, 0, 2)


def _within(places: np.ndarray, side: int) -> np.ndarray:
    return ((places >= 0) & (places <= side - 1)).all(axis=0)


def _sampled(layers: np.ndarray, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(P, n, C) of the images `rows` (P,) of layers (M, S, S, C) at places (2, P, n), between pixels by straight lines.

    Outside, the border goes on.
    """
    side = layers.shape[1]
    y, x = np.clip(places, 0, side - 1)
    top, before = (np.minimum(part.astype(np.int64), side - 2) for part in (y, x))
    down, on = (y - top)[..., None], (x - before)[..., None]
    flat = layers.reshape(-1, layers.shape[3])
    at = rows[:, None] * side**2 + top * side + before
    one = flat.take(at, axis=0)
    above = one + on * (flat.take(at + 1, axis=0) - one)
    one = flat.take(at + side, axis=0)
    below = one + on * (flat.take(at + side + 1, axis=0) - one)
    return above + down * (below - above)
