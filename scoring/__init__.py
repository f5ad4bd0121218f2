"""Scores of samples: pure functions on arrays and tensors, free of paths, datasets, run folders and user interface.

The functions named here take losses as (N, E): a row a sample, a column a checkpoint in training order, in nats.
Arrays, nested lists, data frames and torch tensors of any type and device will do. An undefined score is NaN, never 0.

    from lossprint.scoring import cld, csl, label_errors

    scores = csl(losses)                                    # (N,), high is suspect
    scores = cld(losses, labels, val_losses, val_labels)    # (N,), low is suspect
    errors = label_errors(losses, labels, margins=margins, predicted=predicted)

They are imported when they are first asked for; only `curvature` and `membership` need torch. The modules beside them,
`trajectory` and so on, are how a run is scored: there a row is a checkpoint, as a run is written checkpoint by
checkpoint, and they may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossprint.scoring.functions import (
        aum,
        cld,
        coreset,
        csl,
        curvature,
        data_map,
        el2n,
        el2n_norms,
        exact_duplicates,
        exposure,
        forgetting,
        label_errors,
        ltc,
        membership,
        near_duplicates,
        outlier_scores,
        partners,
        triage,
        undefined_reasons,
    )

__all__ = [
    "aum",
    "cld",
    "coreset",
    "csl",
    "curvature",
    "data_map",
    "el2n",
    "el2n_norms",
    "exact_duplicates",
    "exposure",
    "forgetting",
    "label_errors",
    "ltc",
    "membership",
    "near_duplicates",
    "outlier_scores",
    "partners",
    "triage",
    "undefined_reasons",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'lossprint.scoring' has no attribute {name!r}: it has {', '.join(__all__)}")
    value = getattr(import_module("lossprint.scoring.functions"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
