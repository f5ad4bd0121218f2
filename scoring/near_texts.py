"""Near duplicates among texts: pairs whose sets of five-word shingles overlap by four fifths and more.

MinHash (Broder, 1997): the share of equal entries of two signatures estimates the Jaccard similarity of the sets.
Signatures are cut into bands, and texts that agree in a whole band are compared set by set, so that what is returned is
exact; at a similarity of 0.8 a pair is missed with a probability of 5e-5, at 0.9 with less than 1e-9. Upper and lower
case, punctuation and line breaks do not count.
"""

import re
import zlib
from collections.abc import Callable, Iterable

import numpy as np

from lossprint.scoring.duplicates import Pairs

WORDS = 5  # of a shingle
LEAST = 0.8  # Jaccard similarity of a pair
BANDS, ROWS = 25, 5
CROWD = 40  # members of one bucket that each is compared with: boilerplate that thousands share must not cost millions
SLACK = 0.2  # five deviations of the estimate from 125 entries: below LEAST by that much a pair is not looked at
BLOCK = 1 << 12  # shingles at once
_WORD = re.compile(r"\w+")
_RNG = np.random.default_rng(20_260_101)
_FACTORS = _RNG.integers(1, 1 << 63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_TERMS = _RNG.integers(0, 1 << 63, BANDS * ROWS, dtype=np.uint64)


def shingles(text: str) -> np.ndarray:
    """The hashed five-word shingles of a text, (S,) uint64 ascending; of a shorter text one, of all its words."""
    words = [zlib.crc32(word.encode("utf-8", "replace")) for word in _WORD.findall(text.casefold())]
    if not words:
        return np.empty(0, np.uint64)
    codes = _mixed(np.array(words, np.uint64))
    width = min(WORDS, len(codes))
    found = np.zeros(len(codes) - width + 1, np.uint64)
    for at in range(width):  # a word's place counts
        found = found * np.uint64(0x9E3779B97F4A7C15) + codes[at : at + len(found)]
    return np.unique(_mixed(found))


def signature(found: np.ndarray) -> np.ndarray:
    """The MinHash signature of a set of shingles, (BANDS * ROWS,) uint32."""
    least = np.full(BANDS * ROWS, 0xFFFFFFFF, np.uint32)
    for start in range(0, len(found), BLOCK):
        part = found[start : start + BLOCK, None] * _FACTORS + _TERMS
        least = np.minimum(least, (part >> np.uint64(32)).astype(np.uint32).min(axis=0))
    return least


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """The share of all shingles of two sets that both have; 0 of empty ones."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / max(1, len(one) + len(other) - both)


def near_texts(texts: Iterable[str], again: Callable[[int], str]) -> Pairs:
    """Pairs of N texts, read once in order and, those that may be alike, `again` by position. O(500 N) bytes.

    A text without words is nobody's duplicate.
    """
    signatures, empty = [], []
    for at, text in enumerate(texts):
        found = shingles(text)
        signatures.append(signature(found))
        if not len(found):
            empty.append(at)
    table = np.array(signatures, np.uint32).reshape(-1, BANDS * ROWS)
    first, second = _candidates(table, np.array(empty, np.int64))
    similarity = np.zeros(len(first))
    held: dict[int, np.ndarray] = {}
    for row, (one, other) in enumerate(zip(first.tolist(), second.tolist())):
        for at in (one, other):
            if at not in held:
                held[at] = shingles(again(at))
        similarity[row] = jaccard(held[one], held[other])
        while len(held) > 1000:
            del held[next(iter(held))]
    kept = similarity >= LEAST
    return Pairs(first[kept], second[kept], similarity[kept])


def _candidates(table: np.ndarray, empty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """first < second (P,) int64, ordered: rows that agree in a band, and by all entries are as alike as LEAST."""
    size, keys = len(table), [np.empty(0, np.int64)]
    for band in range(BANDS):
        part = np.ascontiguousarray(table[:, band * ROWS : (band + 1) * ROWS]).view(f"V{4 * ROWS}").ravel()
        _, bucket = np.unique(part, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        for step in range(1, min(CROWD, size - 1) + 1):
            same = bucket[order[:-step]] == bucket[order[step:]]
            if not same.any():
                break
            keys.append(order[:-step][same] * size + order[step:][same])
    first, second = np.divmod(np.unique(np.concatenate(keys)), max(1, size))
    seen = ~(np.isin(first, empty) | np.isin(second, empty))
    first, second = first[seen], second[seen]
    likely = np.empty(len(first), bool)
    for start in range(0, len(first), BLOCK):
        rows = slice(start, start + BLOCK)
        likely[rows] = (table[first[rows]] == table[second[rows]]).mean(axis=1) >= LEAST - SLACK
    return first[likely], second[likely]


def _mixed(codes: np.ndarray) -> np.ndarray:
    """64-bit numbers of which every bit depends on every bit (the finaliser of SplitMix64)."""
    codes = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    codes = (codes ^ (codes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return codes ^ (codes >> np.uint64(31))
