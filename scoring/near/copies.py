"""Whether two images that may be one picture are one, judged by how different the dataset's images are anyway.

`confirmed` lays one image over the other (`laying`) and compares what is left, in colour, with what is left of other
images that resemble the first one most. Of a copy far less is left. Photos of a fixed camera, readings of one meter or
shades of one template differ from each other about as much as from their likeliest copy, whatever the resolution: they
are none. No tolerance in grey levels decides.
"""

from collections.abc import Callable, Iterator

import numpy as np

from lossprint.scoring.duplicates import Pairs
from lossprint.scoring.near.describing import Candidates
from lossprint.scoring.near.laying import SPOILT, STARTS, laid_over, once, within

SIDE = 64  # pixels a side at most on which images are compared
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
# Share of an image's contrast that its rival must leave: where it leaves less, all show one scene, and two photos of
# the same state of it are no copies. Fixed camera, meter: 0.01; copies on Fashion-MNIST: 0.045, CIFAR-10: 0.2 and more.
SCENE = 0.025
LIKE = 0.1  # share of a picture's variance below which what is left is so little that it looks like a copy
COLOURLESS = 2.0  # mean levels between channels
FLOOR = 1.0  # grey levels squared that compression and rounding leave of anything
# A watermark changes part of a picture: up to `SPOILT` of it may differ, if that tells the picture from others not
# much more than any other part of that size does. (The changed digit of a meter does.)
TELLING = 1.5
SOME = 128  # images whose variance says how telling each part is
BLOCKS = 14  # a side, of which parts of a picture are made
PIXELS = 1 << 17  # of the pictures that are laid over each other at once

Pictures = Callable[[np.ndarray], np.ndarray]  # rows (B,) -> (B, S, S, 3) uint8


def changed_pairs(looks: Candidates, size: int) -> Pairs:
    """Of the candidates among `size` images those that may be crops, frames, turned, mirrored or brightened copies."""
    found = looks.pairs.only(looks.best(looks.pairs.similarity, AMONG) & (looks.pairs.similarity >= LEAST))
    return found.only(standing_out(found, size, STANDS_OUT, OTHERS))


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
    pairs: Pairs, rows: np.ndarray, pictures: Pictures, near: np.ndarray | None = None, least: float | None = None
) -> tuple[Pairs, np.ndarray]:
    """Those pairs that are copies, with the share of the picture that they explain, and who resembles many as much.

    near (P,) bool: which of them are of `duplicates.near_pairs`, whose similarity stays. rows (N, D) float32: the
    images as `describing.colours`, by which the others that an image resembles are found. The second: (N,) bool,
    images of a pair that looked like copies but for the others that look alike as well.

    least: a copy leaves at most 1 - least of what the image's rival leaves, in place of `RATIOS`: relative to the
    dataset, so that one value means the same for photos of a fixed camera and for photos of everything.
    """
    alike = np.zeros(len(rows), bool)
    near = np.zeros(len(pairs.first), bool) if near is None else near
    if not len(pairs.first):
        return pairs, alike
    judge = _Judge(rows, pictures, least)
    kept, explained, likely = (np.concatenate(parts) for parts in zip(*judge.verdicts(pairs, near)))
    likely &= ~kept
    alike[pairs.first[likely]] = alike[pairs.second[likely]] = True
    similarity = np.where(near, pairs.similarity, explained)
    return Pairs(pairs.first[kept], pairs.second[kept], similarity[kept]), alike


class _Judge:
    """Pairs of images compared with what is left of each image when those others are laid over it that resemble it."""

    def __init__(self, rows: np.ndarray, pictures: Pictures, least: float | None):
        self.rows, self.pictures = rows, pictures
        self.lengths = np.einsum("nd,nd->n", rows, rows)
        some = pictures(np.linspace(0, len(rows) - 1, min(SOME, len(rows))).astype(int)).astype(np.float32)
        self.side = some.shape[1]
        self.telling = blocks(some.var(axis=0).mean(axis=2)) + FLOOR
        self.ratios = RATIOS if self.side >= SMALL else RATIOS_SMALL
        if least is not None:
            self.ratios = (1 - least, 1 - least)
        self.fair = max(FAIR, self.ratios[0])
        self.step = max(8, PIXELS // self.side**2)

    def seen(self, images: np.ndarray, grey: np.ndarray) -> np.ndarray:
        """Pictures (B, S, S, 3) float32 of images (B,), those of grey (B,) without colour."""
        seen = self.pictures(images).astype(np.float32)
        seen[grey] = (seen[grey] @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        return seen

    def verdicts(self, pairs: Pairs, near: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Block by block (B,): whether a pair is a copy, the share that is explained, whether it looks like a copy."""
        for start in range(0, len(near), self.step):
            part = slice(start, start + self.step)
            yield self.verdict(pairs.first[part], pairs.second[part], near[part])

    def verdict(self, first: np.ndarray, second: np.ndarray, near: np.ndarray):
        no = np.zeros(len(first), bool)
        left, right = self.seen(first, no), self.seen(second, no)
        grey = _colourless(left) != _colourless(right)  # one may be made of the other
        left[grey], right[grey] = self.seen(first[grey], ~no[grey]), self.seen(second[grey], ~no[grey])
        rest, inside = laid_over(left, right)
        mean = within(rest, inside)
        contrast = left.reshape(len(left), -1, 3).std(axis=1).max(axis=1) ** 2
        fits = mean <= contrast + FLOOR
        most = np.where(near, self.ratios[1], self.ratios[0])
        kept = np.zeros(len(first), bool)
        area, energy = blocks(inside.astype(np.float32)), blocks(rest)
        detailed = near | (np.minimum(_detail(left), _detail(right)) >= DETAILED)
        at = np.flatnonzero(fits & detailed & (_unspoilt(energy, area) + FLOOR <= most * (contrast + FLOOR)))
        for one, other, telling in ((first, second, self.telling), (second, first, None)):
            rival, others = self.rivals(one[at], other[at], grey[at])
            good = _ratio(energy[at], area[at], rival, telling) <= most[at]
            good &= rival.mean(axis=(1, 2)) >= SCENE * contrast[at]
            if one is first:
                fair = others
            at, fair = at[good], fair[good]
        freely = ~near[at]  # a map fits many a picture on another
        bound = self.fair * (self.mapped(first[at[freely]], fair[freely], grey[at[freely]]) + FLOOR)
        kept[at] = True
        kept[at[freely]] = mean[at[freely]] + FLOOR <= bound
        share = np.clip(1 - mean / np.maximum(contrast, FLOOR), 0, 1)
        return kept, share, fits & (mean < LIKE * contrast)

    def rivals(self, images: np.ndarray, partners: np.ndarray, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the rival leaves of each image, energy (B, BLOCKS, BLOCKS), and its `MAPPED` nearest others (B, MAPPED).

        The partner of each is none of them; where there are no others, the energy is infinite and the others -1.
        """
        energy = np.full((len(images), BLOCKS, BLOCKS), np.inf, np.float32)
        nearest = np.full((len(images), MAPPED), -1)
        count = min(NEAREST + 1, len(self.rows) - 1)
        step = max(1, self.step // (count or 1))
        for start in range(0, len(images) if count > 1 else 0, step):
            part = slice(start, start + step)
            here, each = images[part], np.arange(len(images[part]))
            distance = self.lengths - 2 * (self.rows[here] @ self.rows.T)
            distance[each, here] = np.inf
            others = np.argpartition(distance, count - 1, axis=1)[:, :count]
            flat = np.repeat(grey[part], count)
            left = self.seen(np.repeat(here, count), flat)
            rests = blocks(once(left, self.seen(others.ravel(), flat))).reshape(-1, count, BLOCKS, BLOCKS)
            mean = np.where(others == partners[part, None], np.inf, rests.mean(axis=(2, 3)))
            order = np.argsort(mean, axis=1, kind="stable")
            there = np.isfinite(mean).sum(axis=1)
            energy[part] = rests[each, order[each, np.minimum(RIVAL, there) - 1]]
            most = min(MAPPED, count)
            listed = np.take_along_axis(others, order[:, :most], axis=1)
            nearest[part, :most] = np.where(np.arange(most) < there[:, None], listed, -1)
        return energy, nearest

    def mapped(self, images: np.ndarray, others: np.ndarray, grey: np.ndarray) -> np.ndarray:
        """(B,) mean energy left of images by the second best of `others` (B, MAPPED), mapped as a copy would be."""
        left = np.full(others.shape, np.inf)
        at, place = np.nonzero(others >= 0)
        for start in range(0, len(at), self.step):
            row, column = at[start : start + self.step], place[start : start + self.step]
            one, other = self.seen(images[row], grey[row]), self.seen(others[row, column], grey[row])
            left[row, column] = within(*laid_over(one, other, 1, STARTS[:3]))
        return np.sort(left, axis=1)[:, 1]


def _colourless(images: np.ndarray) -> np.ndarray:
    return np.abs(images - images.mean(axis=3, keepdims=True)).mean(axis=(1, 2, 3)) < COLOURLESS


def _detail(images: np.ndarray) -> np.ndarray:
    """(P,) the share of pictures (P, S, S, 3) that is no plain area."""
    return (np.hypot(*np.gradient(images.mean(axis=3), axis=(1, 2))) > EDGE).mean(axis=(1, 2))


def _unspoilt(energy: np.ndarray, area: np.ndarray) -> np.ndarray:
    """(P,) mean energy but for up to `SPOILT` of the picture, where most is left: what `_ratio` is at least."""
    energy = np.sort(energy.reshape(len(energy), -1), axis=1)
    count = int(np.ceil(energy.shape[1] * (1 - SPOILT)))
    return energy[:, :count].sum(axis=1) / np.maximum(area.sum(axis=(1, 2)), 1e-6)


def _ratio(left: np.ndarray, area: np.ndarray, rival: np.ndarray, telling: np.ndarray | None) -> np.ndarray:
    """(P,) what is left (P, B, B), where both show something, over what is left of the rival; watermarks passed over.

    area (P, B, B): the share of each part that both show. telling: how much each part tells images apart. None: of the
    second picture, of which only the whole is known, since the map is of the first.
    """
    whole = rival.mean(axis=(1, 2), keepdims=True)
    if telling is None:
        rival, telling = np.broadcast_to(whole, rival.shape), np.ones_like(area)
    telling = telling * area
    off = left > whole * area / 2
    covers, tells = ((one * off).sum(axis=(1, 2)) / np.maximum(one.sum(axis=(1, 2)), 1e-6) for one in (area, telling))
    spoilt = off & ((covers <= SPOILT) & (tells <= TELLING * covers))[:, None, None]
    here = np.maximum((area * ~spoilt).sum(axis=(1, 2)), 1e-6)
    lone = np.isinf(rival[:, 0, 0])
    rival = np.where(np.isinf(rival), 0, rival)
    ratio = ((left * ~spoilt).sum(axis=(1, 2)) / here + FLOOR) / (
        (rival * area * ~spoilt).sum(axis=(1, 2)) / here + FLOOR
    )
    return np.where(lone, 0, ratio)


def blocks(values: np.ndarray) -> np.ndarray:
    """Means of (..., S, S) over about BLOCKS x BLOCKS parts."""
    edges = np.linspace(0, values.shape[-1], BLOCKS + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(values, edges, axis=-2), edges, axis=-1)
    sizes = np.diff([*edges, values.shape[-1]])
    return sums / np.outer(sizes, sizes).astype(np.float32)
