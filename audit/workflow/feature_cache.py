"""Features that a backbone gave, kept for the next audit: by the digest of an image's pixels, in shards on disk.

A folder of its own for each backbone, its weights, its transform, the precision and how images are drawn. A shard has
`digests` (M, 16) uint8 and `vectors` (M, d), float16 where that holds them, and is written when its images are done, so
that a pass that was cut off goes on where it was. The folder is LOSSPRINT_CACHE/features, by default in ~/.cache;
LOSSPRINT_CACHE_BYTES=0 keeps nothing. Whole folders go when all together are larger than that bound, the least
recently used first; a fault of the disk is said once, and the pass goes on without.
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import nn

from lossprint.audit.datasets.readers.cache import BYTES
from lossprint.audit.runs.tensors import check_seal, sealed
from lossprint.audit.system.atomic import atomic
from lossprint.audit.system.urls import home

SHARD = 2048  # images that are lost at most when a pass is cut off
CLOSE = 0.02  # how far, in shares of its length, the first image's vector may be from the one that is kept


def key_of(name: str, module: nn.Module, facts: dict, half: bool, view: object) -> str:
    """A digest of all but the image that a vector depends on: the module's layers and tensors, transform, precision."""
    digest = hashlib.blake2b(repr((name, repr(module), sorted(facts.items()), half, repr(view))).encode())
    for title, tensor in sorted(module.state_dict().items()):
        digest.update(title.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).tobytes())
    return digest.hexdigest()[:32]


def kept(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, d) float32 as a shard holds them: float16, or as they are where one of them is too large for it."""
    with np.errstate(over="ignore"):
        half = vectors.astype(np.float16)
    return half if np.isfinite(half).all() else vectors.astype(np.float32, copy=False)


class Store:
    """The shards of one backbone: `rows` says which digests are there, `fill` looks up or has made what is not."""

    def __init__(self, key: str):
        bound = os.environ.get("LOSSPRINT_CACHE_BYTES", "").strip()
        self.limit = int(bound) if bound.isdecimal() else BYTES
        self.folder = home("LOSSPRINT_CACHE", "XDG_CACHE_HOME", ".cache") / "features" / key
        self.places: dict[bytes, tuple[Path, int]] = {}
        for file in sorted(self.folder.glob("*.safetensors")) if self.limit else ():
            try:
                check_seal(file)
                with safe_open(file, framework="numpy") as shard:
                    digests, shape = shard.get_tensor("digests"), shard.get_slice("vectors").get_shape()
                if digests.dtype == np.uint8 and digests.shape == (shape[0], 16):
                    self.places |= {digest.tobytes(): (file, row) for row, digest in enumerate(digests)}
            except (OSError, ValueError, SafetensorError):
                file.unlink(missing_ok=True)

    def fill(
        self, digests: Sequence[str], first: np.ndarray, make: Callable[[np.ndarray], np.ndarray], bar, rows=None
    ) -> np.ndarray:
        """The vectors (N, d) float32 of the images with these digests, in order, or of those at rows (N,) alone.

        make: places (R,) in what is asked for -> vectors (R, d), told to the bar by itself. first (d,): the dataset's
        first image's, made anew: where what is kept of it is another, nothing that is kept counts, since the backbone's
        code is another one.
        """
        names = [bytes.fromhex(digest) for digest in (digests if rows is None else [digests[row] for row in rows])]
        known = bytes.fromhex(digests[0])
        if known in self.places and not self._is(first, known):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.places = {}
        vectors = np.empty((len(names), len(first)), np.float32)
        there = np.array([name in self.places for name in names])
        by_file: dict[Path, list[int]] = {}
        for row in np.flatnonzero(there):
            by_file.setdefault(self.places[names[row]][0], []).append(int(row))
        for file, rows in by_file.items():
            try:
                with safe_open(file, framework="numpy") as shard:
                    block = shard.get_tensor("vectors")
            except (OSError, SafetensorError):  # another process made room
                block = np.empty((0, 0))
            if block.shape[1] != len(first):
                there[rows] = False
                continue
            vectors[rows] = block[[self.places[names[row]][1] for row in rows]]
            bar.update(len(rows))
        todo = np.flatnonzero(~there)
        for start in range(0, len(todo), SHARD):
            rows = todo[start : start + SHARD]
            block = kept(make(rows))
            self._put([names[row] for row in rows], block)
            vectors[rows] = block
        return vectors

    def _is(self, first: np.ndarray, name: bytes) -> bool:
        file, row = self.places[name]
        try:
            with safe_open(file, framework="numpy") as shard:
                known = shard.get_slice("vectors")[row : row + 1][0].astype(np.float32)
        except (OSError, SafetensorError):
            return False
        return known.shape == first.shape and np.linalg.norm(known - first) <= CLOSE * np.linalg.norm(first)

    def _put(self, names: list[bytes], block: np.ndarray) -> None:
        if not self.limit:
            return
        digests = np.frombuffer(b"".join(names), np.uint8).reshape(-1, 16)
        title = hashlib.blake2b(digests.tobytes(), digest_size=12).hexdigest()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic(self.folder / f"{title}.safetensors") as part:
                part.write_bytes(sealed(save({"digests": digests, "vectors": np.ascontiguousarray(block)})))
            self._make_room()
        except OSError as error:
            warnings.warn(f"features are not kept in {self.folder}: {error.strerror or error}", stacklevel=2)
            self.limit = 0

    def _make_room(self) -> None:
        """Remove other backbones' folders, the least recently written first, until all fit."""
        sizes = {
            folder: sum(file.stat().st_size for file in folder.glob("*"))
            for folder in self.folder.parent.iterdir()
            if folder.is_dir()
        }
        for folder in sorted(set(sizes) - {self.folder}, key=lambda one: one.stat().st_mtime):
            if sum(sizes.values()) <= self.limit:
                return
            shutil.rmtree(folder, ignore_errors=True)
            del sizes[folder]


@torch.inference_mode()
def of_first(module: nn.Module, image: torch.Tensor) -> np.ndarray:
    """The vector (d,) float32 of one image, (...) as the module takes it."""
    return module(image[None]).float().cpu().numpy()[0]
