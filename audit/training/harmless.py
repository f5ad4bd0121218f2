"""What common tools write beside the weights in a checkpoint, as empty stand-ins: nothing of theirs is made or run.

torch.load(weights_only=True) refuses every class that it does not know, such as the argparse.Namespace that timm keeps
as `args`, or the numpy number of a metric. Here a short list of names is known to it; for each of them a class of ours
stands, which takes whatever the file gives it and forgets it. So not even numpy's own code sees what the file holds.
"""

from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext

NAMES = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.{name}" for name in ("dtype", "ndarray", "float64", "float32", "int64", "int32", "bool_", "str_")),
    *(f"numpy.dtypes.{name}DType" for name in ("Float64", "Float32", "Float16", "Int64", "Int32", "Int8", "UInt8")),
    *(f"numpy.dtypes.{name}DType" for name in ("Bool", "Str", "Object")),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
    *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
    *(f"datetime.{name}" for name in ("datetime", "date", "timedelta", "timezone")),
    "_codecs.encode",  # how old pickles spell bytes
    *(f"{built}.{name}" for built in ("builtins", "__builtin__") for name in ("slice", "range", "xrange", "frozenset")),
    *(f"{built}.{name}" for built in ("builtins", "__builtin__") for name in ("list", "dict", "int", "float")),
)
# Dictionaries, in which weights may lie: read as what torch fills, an OrderedDict.
DICTIONARIES = (
    *(f"{part}.fabric.utilities.data.AttributeDict" for part in ("lightning", "lightning_fabric")),
    *(f"{part}.utilities.parsing.AttributeDict" for part in ("pytorch_lightning", "lightning.pytorch")),
    "yacs.config.CfgNode",
    "easydict.EasyDict",
    "addict.addict.Dict",
)


class Forgotten:
    """Whatever a checkpoint holds that is no tensor."""

    def __new__(cls, *_, **__):
        return super().__new__(cls)

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, state) -> None:
        pass


def harmless() -> AbstractContextManager:
    """Within it torch.load takes the names of the lists for what stands for them here."""
    import torch

    if not hasattr(torch.serialization, "safe_globals"):  # before torch 2.5, which knows no other names
        return nullcontext()
    known: list[tuple] = [(Forgotten, name) for name in NAMES]
    known += [(OrderedDict, name) for name in DICTIONARIES]
    known += [(_emptied, "collections.defaultdict"), (_row, "collections.deque")]
    return torch.serialization.safe_globals(known)


def _emptied(*_) -> dict:
    return {}


def _row(*_) -> list:
    return []
