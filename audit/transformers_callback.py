"""The name of before 0.2 of `lossprint.audit.recording.transformers`: scripts that import it go on."""

from lossprint.audit.recording.transformers import LossprintCallback

__all__ = ["LossprintCallback"]
