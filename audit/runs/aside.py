"""What a run says of images that are no samples and are copies of samples all the same, see `findings.aside`."""

import numpy as np
import pandas as pd

from lossprint.audit.runs.run import Run
from lossprint.audit.words import plural, some, verb

KINDS = {"exact": "duplicate", "near": "near_duplicate"}
LEAK = 0.75  # severity of a copy in another split, as in `find`


def sentence(run: Run) -> str | None:
    """What images that were left out are copies of, None where none was looked at or is."""
    table = run.aside()
    if table is None or not (table["sample"] >= 0).any():
        return None
    copies = table[table["sample"] >= 0]
    known = run.samples(copies["sample"].unique().tolist(), ["sample", "path", "split"]).set_index("sample")
    pairs = [(row.path, known.at[row.sample, "path"]) for row in copies.head(3).itertuples()]
    own, split = copies["split"].to_numpy(object), known["split"].reindex(copies["sample"]).to_numpy(object)
    other = (own != "") & (own != split) & (np.isin(own, ["test", "val"]) | np.isin(split, ["test", "val"]))
    leak = f", {int(other.sum()):,} of them from another split (a leak)" if other.any() else ""
    more = f" and {len(copies) - len(pairs):,} more" if len(copies) > len(pairs) else ""
    return (
        f"{len(copies):,} of {plural(len(table), 'image')} without a label {verb(len(copies), 'is')} "
        f"{'a copy' if len(copies) == 1 else 'copies'} of samples{leak}: "
        f"{some(f'{one} of {sample}' for one, sample in pairs)}{more}"
    )


def finding_rows(run: Run) -> pd.DataFrame | None:
    """The copies as rows of `export findings`: each group a sample and the images that are copies of it.

    Such an image has no sample id and no label; what its sample is labelled is suggested.
    """
    table = run.aside()
    if table is None or not (table["sample"] >= 0).any():
        return None
    copies = table[table["sample"] >= 0]
    known = run.samples(copies["sample"].unique().tolist(), ["sample", "path", "label"]).set_index("sample")
    ranks = run.findings().groupby("kind")["rank"].max() if len(run.findings()) else pd.Series(dtype=int)
    rows = []
    for (kind, sample), mine in copies.groupby(["kind", "sample"], sort=True):
        name = KINDS[kind]
        rank = int(ranks.get(name, 0)) + 1
        ranks[name] = rank
        label, group = known.at[sample, "label"], f"{name}:{sample}:unlabelled"
        severity = float(mine["similarity"].min()) * LEAK
        rows.append((name, sample, known.at[sample, "path"], label, None, severity, rank, group))
        rows += [(name, None, path, "", label, severity, rank, group) for path in mine["path"]]
    names = ("kind", "sample", "path", "label", "suggested_label", "severity", "rank", "group")
    return pd.DataFrame(rows, columns=list(names)).astype({"sample": "Int64"})
