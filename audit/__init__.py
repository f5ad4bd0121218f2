"""The workflow of an audit. `from lossprint.audit import Recorder, open_run` is what most users need.

A name is imported when it is first asked for, so that a command that records nothing imports no recorder.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.runs.open import open_run
    from lossprint.audit.types import LossprintError

__all__ = ["LossprintError", "Recorder", "open_run"]
_MODULES = {"LossprintError": "types", "Recorder": "recording.recorder", "open_run": "runs.open"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
