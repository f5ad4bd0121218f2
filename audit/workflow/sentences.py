"""Frozen vectors of texts by the package sentence-transformers, an extra that is imported only where it is asked for:
`--model frozen:sentences:NAME`, NAME a folder or a model that lies in the local cache; only `download` fetches one."""

import numpy as np

from lossprint.audit.training.names import SENTENCES
from lossprint.audit.types import LossprintError, one_line

BATCH = 32


def open_encoder(model: str, device: str | None = None, download: bool = False):
    """The encoder of `--model frozen:sentences:NAME`. LossprintError, in one line, without the package or the model."""
    name = model.removeprefix(SENTENCES)
    if not name:
        raise LossprintError(f"expected the name or folder of a sentence encoder after {SENTENCES}, found none")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise LossprintError(
            f"expected the package sentence-transformers for {model}, found none: pip install 'lossprint[sentences]', "
            "or hand over vectors that you made with --features FILE"
        ) from None
    try:
        # Nothing of a model's own code is run.
        return SentenceTransformer(name, device=device, local_files_only=not download, trust_remote_code=False)
    except Exception as error:  # of the hub, the files, the network
        hint = "" if download else "; --download fetches it"
        raise LossprintError(f"expected a sentence encoder {name!r}, found: {one_line(error)}{hint}") from None


def encoded(encoder, texts: list[str], bar) -> np.ndarray:
    """The vectors (N, d) float32 of texts; each is read as far as the encoder reads. `bar` counts texts."""
    parts = []
    for start in range(0, len(texts), BATCH):
        some = texts[start : start + BATCH]
        parts.append(np.asarray(encoder.encode(some, batch_size=BATCH, show_progress_bar=False), np.float32))
        bar.update(len(some))
    vectors = np.concatenate(parts)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise LossprintError(f"expected finite vectors (texts, d) of the encoder, found shape {vectors.shape}")
    return vectors
