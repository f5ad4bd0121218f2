"""The findings of a run as whoever asks wants them: of some kinds, the most severe first; and how many of each."""

import pandas as pd

from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import FINDINGS
from lossprint.audit.types import KINDS, LossprintError


def findings_of(run: Run, kinds: tuple[str, ...] = (), top: int | None = None) -> pd.DataFrame:
    """Rows of findings.parquet, columns FINDINGS: of these kinds (none: all), the first `top` findings of each.

    A group of duplicates is one finding with a row for each of its samples. Raises LossprintError for an unknown kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise LossprintError(f"expected a kind of {', '.join(KINDS)}, found {kind!r}")
    if top is not None and top < 1:
        raise LossprintError(f"expected a number of findings of 1 or more, found {top}")
    table = run.findings()[list(FINDINGS)]
    if kinds:
        table = table[table["kind"].isin(kinds)]
    if top is not None:
        table = table[table["rank"] <= top]
    return table.reset_index(drop=True)


def counts(run: Run) -> dict[str, int]:
    """How many findings of each kind there are, every kind named."""
    known = run.manifest["facts"].get("find", {}).get("findings")
    if known is None:
        known = run.findings().drop_duplicates(["kind", "group"])["kind"].value_counts()
    return {kind: int(known.get(kind, 0)) for kind in KINDS}
