"""How long the map of what is alike takes, and how far neighbours on it are neighbours in the features.

    python benchmarks/layout.py --images FASHION/train-images-idx3-ubyte.gz --samples 50000

Features are the pixels of Fashion-MNIST. Prints for our map, for ours without openTSNE (principal components) and for
scikit-learn's t-SNE on `--peer` samples: seconds of processor time, and trustworthiness (scikit-learn's, 15 neighbours,
on 5,000 of the samples; 1: whoever is near on the map is near in the features).
"""

import argparse
import gzip
import time

import numpy as np
from sklearn.manifold import TSNE, trustworthiness

from lossprint.scoring.near import layout

CHECKED = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--peer", type=int, default=0)
    options = parser.parse_args()
    with gzip.open(options.images) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    vectors = pixels[: options.samples].astype(np.float32) / 255
    checked = np.random.default_rng(1).permutation(len(vectors))[:CHECKED]

    def row(name: str, work, rows: np.ndarray = checked) -> None:
        begin = time.process_time()
        places = work()
        seconds = time.process_time() - begin
        trust = trustworthiness(vectors[rows], places[rows], n_neighbors=15)
        print(f"{name:<44} {seconds:7.1f} s   trustworthiness {trust:.3f}", flush=True)

    made = layout.place(vectors[:1000])  # imports are not counted
    row(f"{len(vectors):,} samples, {made.method} of {layout.ANCHORS:,}", lambda: layout.place(vectors).places)
    row(f"{len(vectors):,} samples, principal components", lambda: layout.principal(vectors)[:, :2])
    if options.peer:
        reduced, few = layout.principal(vectors[: options.peer]), np.arange(min(options.peer, CHECKED))
        fit = TSNE(init="pca", random_state=0, n_jobs=1)
        row(f"{options.peer:,} samples, scikit-learn's t-SNE", lambda: fit.fit_transform(reduced), few)


if __name__ == "__main__":
    main()
