"""The part of a run folder that holds tensors, all of it safetensors: weights, training states, embeddings.

Each file carries a digest of itself in its metadata, which the format has none of: a flipped byte would else train on.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from lossprint.audit.system.atomic import names, needed, refuse_pipe, remove, write_bytes
from lossprint.audit.types import LossprintError, one_line

SEAL = "blake2b"  # in the metadata: the digest of the header without it, and of all that follows
LONGEST = 100 << 20  # bytes of a header, as safetensors has it


class TensorFiles:
    """What `store.Run` knows of tensors; torch is imported only where it is needed."""

    path: Path

    def saved_checkpoints(self) -> list[int]:
        found = (Path(name) for name in names(self.path / "checkpoints"))
        return sorted(int(one.stem) for one in found if one.stem.isdecimal() and one.suffix == ".safetensors")

    def write_checkpoint(self, checkpoint: int, tensors: dict) -> None:
        from safetensors.torch import save

        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        write_bytes(self.path / "checkpoints" / f"{checkpoint:05d}.safetensors", sealed(data))

    def read_checkpoint(self, checkpoint: int) -> dict:
        return self._tensors(self.path / "checkpoints" / f"{checkpoint:05d}.safetensors")

    def write_state(self, checkpoint: int, tensors: dict) -> None:
        """What training needs to go on after `checkpoint` (weights, statistics, momentum); replaces the last one."""
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        data = save(tensors, metadata={"checkpoint": str(checkpoint)})
        write_bytes(self.path / "resume.safetensors", sealed(data))

    def read_state(self) -> tuple[int, dict] | None:
        """The checkpoint after which training goes on and its tensors, or None where nothing was saved."""
        from safetensors import safe_open

        path = self.path / "resume.safetensors"
        needed(path)
        if not path.exists():
            return None
        tensors = self._tensors(path)
        with safe_open(path, framework="pt") as file:
            return int(file.metadata()["checkpoint"]), tensors

    def drop_state(self) -> None:
        remove(self.path / "resume.safetensors")

    def _tensors(self, path: Path) -> dict:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            needed(path)
            check_seal(path)
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise LossprintError(f"expected weights in {path}, found: {one_line(error)}") from None

    def write_embeddings(self, samples: np.ndarray, vectors: np.ndarray) -> None:
        """Save samples (N,) int64 and their embedding (N, D) float32."""
        from safetensors.numpy import save

        data = save({"samples": samples.astype(np.int64), "vectors": np.ascontiguousarray(vectors, np.float32)})
        write_bytes(self.path / "embeddings.safetensors", sealed(data))

    def write_timeline(self, **arrays: np.ndarray) -> None:
        """Save what was seen over time, see `frames.Timeline`."""
        from safetensors.numpy import save

        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        write_bytes(self.path / "timeline.safetensors", sealed(data))

    def timeline(self) -> dict[str, np.ndarray] | None:
        """The arrays of `write_timeline`, None where nothing was looked at over time."""
        return self._arrays("timeline", "what was seen over time")

    def write_temporal(self, fold: int, tensors: dict) -> None:
        """Save the weights of the model over time of a fold, stacked over epochs."""
        from safetensors.torch import save

        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        write_bytes(self.path / "temporal" / f"fold={fold:03d}.safetensors", sealed(data))

    def read_temporal(self) -> list[dict]:
        """The weights of the models over time, one a fold."""
        needed(self.path / "temporal")
        return [self._tensors(path) for path in sorted((self.path / "temporal").glob("fold=*.safetensors"))]

    def embeddings(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Samples (N,) and vectors (N, D), or None in a run without a model, such as one of imported losses."""
        found = self._arrays("embeddings", "embeddings")
        if found is None:
            return None
        samples, vectors = found["samples"], found.get("vectors", np.empty(0))
        whole = samples.ndim == 1 and samples.dtype.kind in "iu" and vectors.dtype.kind == "f"
        if not whole or vectors.ndim != 2 or len(samples) != len(vectors):
            raise LossprintError(f"expected samples (N,) and vectors (N, D) as embeddings of {self.path}, found others")
        if not (samples[1:] > samples[:-1]).all() and len(np.unique(samples)) < len(samples):
            raise LossprintError(f"expected one embedding a sample in {self.path}, found several of one")
        return samples, vectors

    def _arrays(self, name: str, what: str) -> dict[str, np.ndarray] | None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.path / f"{name}.safetensors"
        if not path.exists():
            return None
        try:
            check_seal(path)
            found = load_file(path)
            if "samples" not in found:
                raise OSError("no samples")
            return found
        except (SafetensorError, OSError) as error:
            raise LossprintError(f"expected {what} in {path}, found: {one_line(error)}") from None


def sealed(data: bytes) -> bytes:
    """A safetensors file's bytes with their digest added to the metadata."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), memoryview(data)[8 + length :]
    digest = _digest(header)
    digest.update(body)
    header["__metadata__"] = header.get("__metadata__", {}) | {SEAL: digest.hexdigest()}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return b"".join((len(text).to_bytes(8, "little"), text, body))


def check_seal(path: Path) -> bool:
    """Whether a safetensors file has a digest of itself. Raises OSError where it is another one's."""
    refuse_pipe(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if length <= LONGEST else None
            about = header.get("__metadata__", {})
            expected = about.pop(SEAL, None)
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise OSError("no header of safetensors") from None
        if expected is None:
            return False
        if not about:
            del header["__metadata__"]
        digest = _digest(header)
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise OSError("other bytes than were written")
    return True


def _digest(header: dict):
    return hashlib.blake2b(json.dumps(header, separators=(",", ":")).encode(), digest_size=16)
