"""Files of tensors, all of them safetensors: weights, training states, embeddings.

Each carries a digest of itself in its metadata, which the format has none of: a flipped byte would else train on. torch
is imported only by what reads or writes its tensors.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from lossprint.audit.system.atomic import refuse_pipe, write_bytes
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import LossprintError, one_line

SEAL = "blake2b"  # in the metadata: the digest of the header without it, and of all that follows
LONGEST = 100 << 20  # bytes of a header, as safetensors has it


def write(path: Path, tensors: dict, metadata: dict[str, str] | None = None) -> None:
    """Write torch tensors by their names."""
    from safetensors.torch import save

    write_bytes(path, sealed(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=metadata)))


def read(path: Path) -> dict:
    """The torch tensors of a file. Raises LossprintError where it is damaged or missing."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_seal(path)
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise LossprintError(f"expected weights in {path}, found: {one_line(error)}") from None


def metadata(path: Path) -> dict[str, str]:
    """What was written beside the tensors of a file that `read` has read."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata()


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write NumPy arrays by their names."""
    from safetensors.numpy import save

    write_bytes(path, sealed(save({name: np.ascontiguousarray(array) for name, array in arrays.items()})))


def read_arrays(path: Path, what: str) -> dict[str, np.ndarray] | None:
    """The arrays of a file, `samples` among them; None where there is no file. Raises LossprintError, naming `what`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.exists():
        return None
    try:
        check_seal(path)
        arrays = load_file(path)
        if "samples" not in arrays:
            raise OSError("no samples")
        return arrays
    except (SafetensorError, OSError) as error:
        raise LossprintError(f"expected {what} in {path}, found: {one_line(error)}") from None


def sealed(data: bytes) -> bytes:
    """A safetensors file's bytes with their digest added to the metadata."""
    length = int.from_bytes(data[:8], "little")
    header, body = parsed(data[8 : 8 + length]), memoryview(data)[8 + length :]
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
            header = parsed(file.read(length)) if length <= LONGEST else None
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
