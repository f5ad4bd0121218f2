"""The name of before 0.2 of `lossprint.audit.recording.lightning`: scripts that import it go on."""

from lossprint.audit.recording.lightning import LossprintCallback

__all__ = ["LossprintCallback"]
