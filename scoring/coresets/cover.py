"""Subsets that cover the rest: facility location and k-centre, both greedy, over vectors of one class at a time.

Facility location picks the samples whose nearest chosen neighbour is close, on average over all (CRAIG, Mirzasoleiman
et al., 2020; on embeddings MILO, Killamsetty et al., 2023; CRUST, Mirzasoleiman et al., 2020, takes the medoids of
gradients, which is the same objective). k-centre picks those that make the largest distance small (Sener and Savarese,
2018). Both need O(N D) memory: similarities are worked out row by row, when they are asked for.
"""

import heapq

import numpy as np

BATCH = 64  # rows of similarities worked out together: one product of matrices instead of many with a vector


def facility_location(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` rows of vectors (N, D) that together are nearest to all; (rows in the order chosen, their gains).

    Maximises sum_i max_{j chosen} (R - |x_i - x_j|), R twice the largest distance from the mean, by the greedy
    algorithm, 1 - 1/e of the optimum at least (Nemhauser et al., 1978). Lazy (Minoux, 1978): a gain only shrinks, so a
    row is looked at again only while its last known gain is the largest. Ties go to the smaller row.
    """
    n, count = len(vectors), min(count, len(vectors))
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0)
    vectors, squares = _centred(vectors)
    reach = np.float32(2 * np.sqrt(squares.max()) + 1e-6)

    def similarity(rows: np.ndarray) -> np.ndarray:
        """(B, N) float32, at least 0."""
        distance = squares[rows, None] + squares - 2 * (vectors[rows] @ vectors.T)
        found = reach - np.sqrt(np.maximum(distance, 0))
        found[np.arange(len(rows)), rows] = reach
        return np.maximum(found, 0)

    best = np.zeros(n, np.float32)
    gains = np.concatenate(
        [similarity(np.arange(start, min(start + BATCH, n))).sum(1, dtype=np.float64) for start in range(0, n, BATCH)]
    )
    queue = [(-gain, row) for row, gain in enumerate(gains)]
    heapq.heapify(queue)
    chosen, won = [], []
    fresh: set[int] = set()  # rows whose gain was worked out since the last choice
    while len(chosen) < count:
        if queue[0][1] in fresh:
            gain, row = heapq.heappop(queue)
            chosen.append(row)
            won.append(-gain)
            np.maximum(best, similarity(np.array([row]))[0], out=best)
            fresh = set()
            continue
        # A few first, then as many again as were not enough.
        looked = [heapq.heappop(queue) for _ in range(min(max(4, len(fresh)), BATCH, len(queue)))]
        rows = np.array([row for _, row in looked if row not in fresh], np.int64)
        more = np.maximum(similarity(rows) - best, 0).sum(1, dtype=np.float64)
        for one in looked:
            if one[1] in fresh:
                heapq.heappush(queue, one)
        for gain, row in zip(more.tolist(), rows.tolist()):
            fresh.add(row)
            heapq.heappush(queue, (-gain, row))
    return np.array(chosen, np.int64), np.array(won)


def k_centre(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` rows of vectors (N, D), each the farthest from those before; (rows, their distances to those before).

    The first is the one nearest to the mean; its distance is inf. At most twice the optimal radius (Gonzalez, 1985).
    """
    n, count = len(vectors), min(count, len(vectors))
    if count == 0:
        return np.zeros(0, np.int64), np.zeros(0)
    vectors, squares = _centred(vectors)
    chosen, far = [int(squares.argmin())], [np.inf]
    nearest = np.full(n, np.inf, np.float32)
    while True:
        at = chosen[-1]
        np.minimum(nearest, np.maximum(squares + squares[at] - 2 * (vectors @ vectors[at]), 0), out=nearest)
        nearest[at] = -1  # never again, not even where all that is left is identical
        if len(chosen) == count:
            return np.array(chosen, np.int64), np.array(far)
        chosen.append(int(nearest.argmax()))
        far.append(float(np.sqrt(nearest[chosen[-1]])))


def _centred(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors (N, D) float32 less their mean, so that products lose no digits, and their squared lengths (N,)."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    vectors = vectors - vectors.mean(0)
    return vectors, np.einsum("nd,nd->n", vectors, vectors)
