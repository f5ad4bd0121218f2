"""The columns of the run folder's tables, which other programs read: a contract."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.types import KINDS, Finding

PART = pa.schema([("sample", pa.int64()), ("loss", pa.float32()), ("margin", pa.float32()), ("predicted", pa.int32())])
OPTIONAL = pa.field("el2n", pa.float32())  # |p - onehot(label)|, where the logits were recorded
CURVATURE = pa.schema(
    [("sample", pa.int64()), ("curvature", pa.float32()), ("trace", pa.float32()), ("gradient_norm", pa.float32())]
)
FINDINGS = ("kind", "sample", "path", "label", "suggested_label", "severity", "rank", "group")
PAIRS = ("sample", "partner", "partner_split", "correlation", "side", "rank", "scope")


def read_part(file: Path) -> pa.Table:
    """One part file as `PART`, with the column `el2n` where it has it."""
    has = OPTIONAL.name in pq.read_schema(file).names
    return pq.read_table(file, schema=PART.append(OPTIONAL) if has else PART, partitioning=None)


def findings_table(findings: list[Finding], samples: pd.DataFrame) -> pd.DataFrame:
    """Findings as the table of the contract. rank counts findings within a kind from 1, most severe first."""
    known = samples.set_index("sample")
    order = sorted(findings, key=lambda f: (KINDS.index(f.kind), -f.severity, min(f.samples)))
    ranks: dict[str, int] = {}
    rows = []
    for finding in order:
        ranks[finding.kind] = ranks.get(finding.kind, 0) + 1
        for sample in finding.samples:
            rows.append(
                (finding.kind, sample, finding.suggested_label, finding.severity, ranks[finding.kind], finding.name)
            )
    frame = pd.DataFrame(rows, columns=["kind", "sample", "suggested_label", "severity", "rank", "group"])
    frame["path"] = known.loc[frame["sample"], "path"].to_numpy() if rows else ""
    frame["label"] = known.loc[frame["sample"], "label"].to_numpy() if rows else ""
    text = dict.fromkeys(("kind", "path", "label", "suggested_label", "group"), "string")
    return frame[list(FINDINGS)].astype({"sample": "int64", "severity": "float64", "rank": "int64", **text})
