"""Lossprint from Python: these names stay, `lossprint.scoring` holds the scores, all else is how it is done.

    run = lossprint.run_audit("photos/", "runs/photos")     # or score("runs/mine"), open_run("runs/photos")
    run.findings("label_error")                             # a DataFrame, most suspect first
    lossprint.cleaned(run).table                            # the dataset as the reviewers decided

`lossprint.audit` is the package of the workflow, so the function is `run_audit`. Every name is imported when it is
first asked for: `import lossprint` costs nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossprint import app, audit, scoring
    from lossprint._cleaned import Cleaned
    from lossprint._dataset import choose_coreset, cleaned
    from lossprint._run import LossPrints, Run, open_run, run_audit, score
    from lossprint.audit.recording.recorder import Recorder
    from lossprint.audit.types import LossprintError

    __version__: str

__all__ = [
    "Cleaned",
    "LossPrints",
    "LossprintError",
    "Recorder",
    "Run",
    "__version__",
    "app",
    "audit",
    "choose_coreset",
    "cleaned",
    "open_run",
    "run_audit",
    "score",
    "scoring",
]
_MODULES = {
    "Cleaned": "lossprint._cleaned",
    "LossPrints": "lossprint._run",
    "LossprintError": "lossprint.audit.types",
    "Recorder": "lossprint.audit.recording.recorder",
    "Run": "lossprint._run",
    "choose_coreset": "lossprint._dataset",
    "cleaned": "lossprint._dataset",
    "open_run": "lossprint._run",
    "run_audit": "lossprint._run",
    "score": "lossprint._run",
}
_ROOMS = ("app", "audit", "scoring")
_HERE = Path(__file__).parent

# In a checkout the rooms stand beside this folder; installed, in it. An editable install finds them either way.
if not (_HERE / "audit").is_dir():
    __path__.append(str(_HERE.parent))


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"lossprint.{name}")
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("lossprint")
    elif name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module 'lossprint' has no attribute {name!r}: it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
