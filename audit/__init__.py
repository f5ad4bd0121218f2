"""The workflow of an audit. `from lossprint.audit import Recorder, open_run` is what most users need."""

from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError

__all__ = ["LossprintError", "Recorder", "open_run"]
