"""The part of a run folder that holds tensors, all of it safetensors: weights, training states, embeddings."""

from pathlib import Path

import numpy as np

from lossprint.audit.atomic import write_bytes
from lossprint.audit.types import LossprintError


class TensorFiles:
    """What `store.Run` knows of tensors; torch is imported only where it is needed."""

    path: Path

    def saved_checkpoints(self) -> list[int]:
        return sorted(int(path.stem) for path in (self.path / "checkpoints").glob("[0-9]*.safetensors"))

    def write_checkpoint(self, checkpoint: int, tensors: dict) -> None:
        from safetensors.torch import save

        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        write_bytes(self.path / "checkpoints" / f"{checkpoint:05d}.safetensors", data)

    def read_checkpoint(self, checkpoint: int) -> dict:
        return self._tensors(self.path / "checkpoints" / f"{checkpoint:05d}.safetensors")

    def write_state(self, checkpoint: int, tensors: dict) -> None:
        """What training needs to go on after `checkpoint` (weights, statistics, momentum); replaces the last one."""
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write_bytes(self.path / "resume.safetensors", save(tensors, metadata={"checkpoint": str(checkpoint)}))

    def read_state(self) -> tuple[int, dict] | None:
        """The checkpoint after which training goes on and its tensors, or None where nothing was saved."""
        from safetensors import safe_open

        path = self.path / "resume.safetensors"
        if not path.exists():
            return None
        tensors = self._tensors(path)
        with safe_open(path, framework="pt") as file:
            return int(file.metadata()["checkpoint"]), tensors

    def drop_state(self) -> None:
        (self.path / "resume.safetensors").unlink(missing_ok=True)

    def _tensors(self, path: Path) -> dict:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise LossprintError(f"expected weights in {path}, found: {one_line(error)}") from None

    def write_embeddings(self, samples: np.ndarray, vectors: np.ndarray) -> None:
        """Save samples (N,) int64 and their embedding (N, D) float32."""
        from safetensors.numpy import save

        data = save({"samples": samples.astype(np.int64), "vectors": np.ascontiguousarray(vectors, np.float32)})
        write_bytes(self.path / "embeddings.safetensors", data)

    def write_timeline(self, **arrays: np.ndarray) -> None:
        """Save what was seen over time, see `frames.Timeline`."""
        from safetensors.numpy import save

        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        write_bytes(self.path / "timeline.safetensors", data)

    def timeline(self) -> dict[str, np.ndarray] | None:
        """The arrays of `write_timeline`, None where nothing was looked at over time."""
        return self._arrays("timeline", "what was seen over time")

    def write_temporal(self, fold: int, tensors: dict) -> None:
        """Save the weights of the model over time of a fold, stacked over epochs."""
        from safetensors.torch import save

        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        write_bytes(self.path / "temporal" / f"fold={fold:03d}.safetensors", data)

    def read_temporal(self) -> list[dict]:
        """The weights of the models over time, one a fold."""
        return [self._tensors(path) for path in sorted((self.path / "temporal").glob("fold=*.safetensors"))]

    def embeddings(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Samples (N,) and vectors (N, D), or None in a run without a model, such as one of imported losses."""
        found = self._arrays("embeddings", "embeddings")
        return None if found is None else (found["samples"], found["vectors"])

    def _arrays(self, name: str, what: str) -> dict[str, np.ndarray] | None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.path / f"{name}.safetensors"
        if not path.exists():
            return None
        try:
            found = load_file(path)
            if "samples" not in found:
                raise OSError("no samples")
            return found
        except (SafetensorError, OSError) as error:
            raise LossprintError(f"expected {what} in {path}, found: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """What went wrong, fit for the one line of a LossprintError."""
    text = str(error).strip() or type(error).__name__
    return " ".join(text.split())[:300]
