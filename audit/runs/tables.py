"""The run folder's tables: their columns, which are a contract with other programs, and how a range of one is read.

Parts, scores and pairs are sorted by sample and have row groups of `LOOKUP_ROWS`, of which a range reads only its own.
A part of an older version has row groups of 1,048,576 rows: a range then decodes up to two of those for nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.types import is_floating as floating

from lossprint.audit.system.atomic import atomic, refuse_pipe
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import KINDS, Finding
from lossprint.scoring.quality import MEASURES, QUALITIES

PART = pa.schema([("sample", pa.int64()), ("loss", pa.float32()), ("margin", pa.float32()), ("predicted", pa.int32())])
OPTIONAL = pa.field("el2n", pa.float32())  # |p - onehot(label)|, where the logits were recorded
CURVATURE = pa.schema(
    [("sample", pa.int64()), ("curvature", pa.float32()), ("trace", pa.float32()), ("gradient_norm", pa.float32())]
)
HEAD = pa.schema(  # one row a training sample of a run on frozen features, see `scoring.heads.combine.Ranking`
    [
        ("sample", pa.int64()),
        ("suspicion", pa.float64()),  # mean rank, 0 to 1, high is suspect
        ("suggested", pa.int32()),  # class index, -1 where unknown
        ("probability", pa.float64()),  # of the suggested class, out of fold
        ("given_probability", pa.float64()),
        ("flagged", pa.bool_()),  # head and neighbours name another class than the given one
        ("certain", pa.bool_()),  # and both the same
        ("foreign", pa.float64()),  # how far from the others by NNGuide, above 0, high is foreign
        ("head_curvature", pa.float32()),  # trace of the loss's Hessian in the features, by the head's last epoch
    ]
)
QUALITY = pa.schema(  # one row a sample of all splits, see `scoring.quality`
    [
        ("sample", pa.int64()),
        *((name, pa.int64()) for name in ("width", "height")),  # px
        *((name, pa.float32()) for name in MEASURES[:5]),
        *((f"is_{name}", pa.float32()) for name in QUALITIES),  # severity, 0 to 1, above 0.5 it stands out
    ]
)
FINDINGS = ("kind", "sample", "path", "label", "suggested_label", "severity", "rank", "group")
FRAMES = pa.schema(  # one row a frame of a sequence, of all splits, in the order of sequence and frame
    [
        ("sample", pa.int64()),
        ("sequence", pa.string()),
        ("frame", pa.int64()),
        ("split", pa.string()),
        ("label", pa.string()),  # as given
        ("suggested_label", pa.string()),  # of the model over time, held out; as given where no other is clearly ahead
        ("suggested_frame", pa.int64()),  # where the frame belongs by the findings of order, else its own number
        ("p_given", pa.float32()),  # probability of the given label by the model over time, held out
        ("frame_csl", pa.float32()),  # nats, mean over checkpoints, of the model of single frames, held out
        ("temporal_csl", pa.float32()),  # the same of the model over time
        ("sequence_label", pa.float32()),  # severity, 0 to 1, that the label is wrong
        ("sequence_order", pa.float32()),  # severity, 0 to 1, that the frame stands in the wrong place
    ]
)
RESPONSES = pa.schema(  # one row a prompt/response pair
    [
        ("sample", pa.int64()),
        ("tokens", pa.float64()),  # of the response, missing where nobody said
        ("loss", pa.float64()),  # nats, mean over these tokens, after the prompt
        ("alone", pa.float64()),  # the same without the prompt, missing where it was not measured
    ]
)
VOTES = pa.schema(  # one row an annotator's vote; a missing label is an abstention
    [("sample", pa.int64()), ("annotator", pa.string()), ("label", pa.string())]
)
COUNTED = pa.schema([*VOTES, ("quality", pa.float64())])  # probability of the vote's class, low is suspect
CONSENSUS = pa.schema(  # one row a sample with votes
    [
        ("sample", pa.int64()),
        ("label", pa.string()),  # as given
        ("votes", pa.int64()),
        ("for_given", pa.int64()),  # votes for the given label
        ("for_consensus", pa.int64()),
        ("majority", pa.string()),
        ("consensus", pa.string()),  # of the votes and, on pretrained features, a model
        ("quality", pa.float64()),  # its probability, low is suspect
        ("crowdlab", pa.string()),
        ("crowdlab_quality", pa.float64()),
        ("dawid_skene", pa.string()),
        ("again", pa.float64()),  # ActiveLab, low: ask again first
    ]
)
ANNOTATORS = pa.schema(
    [
        ("annotator", pa.string()),
        ("votes", pa.int64()),
        ("shared", pa.int64()),  # votes on samples that another votes on, too
        ("coverage", pa.float64()),  # share of the samples with votes
        ("overlap", pa.float64()),  # share of the votes that are shared
        ("conflict", pa.float64()),  # share of the votes that another contradicts
        ("agreement", pa.float64()),  # with others, over all pairs of votes
        ("with_consensus", pa.float64()),
        ("quality", pa.float64()),  # CROWDLAB's
        ("ability", pa.float64()),  # estimated share of right votes, Dawid and Skene's
        ("few", pa.bool_()),  # fewer than 30 shared votes
    ]
)
EXPOSURE = pa.schema(  # one row a training sample, the most exposed first, see `scoring.memorized.exposure`
    [
        ("sample", pa.int64()),
        ("rank", pa.int64()),  # from 1, 0 for samples that were not ranked
        ("exposure", pa.float64()),  # LT-IQR, nats, high is exposed where the sample was learnt
        ("final_loss", pa.float64()),  # nats, at the last checkpoint
        ("learnt", pa.bool_()),  # whether the model knows it at the end; those that it does not come last
    ]
)
MEMORIZATION = pa.schema(  # one row a training sample, the most memorized first
    [
        ("sample", pa.int64()),
        (
            "memorization",
            pa.float64(),
        ),  # probability of the label by models with the sample, minus without
        ("error", pa.float64()),  # its standard error; of folds the most that it may be
        ("distance", pa.float64()),  # of log-odds with and without it, in deviations, high is exposed; NaN of folds
        ("inside", pa.int64()),  # models that were trained with the sample
        ("outside", pa.int64()),
    ]
)
CHECKED = pa.schema(  # one row an image of a batch that `lossprint check` looked at
    [
        ("image", pa.int64()),  # its place in the batch
        ("path", pa.string()),
        ("label", pa.string()),  # as given, empty for none
        ("foreign", pa.float64()),  # severity, 0 to 1, one half at the fence of the run's own images
        ("foreign_p", pa.float64()),  # share of the run's own images that are as foreign or more
        ("is_foreign", pa.bool_()),
        ("unknown_label", pa.bool_()),
        ("suggested_label", pa.string()),  # the head's class
        ("probability", pa.float64()),  # of the suggested class
        ("given_probability", pa.float64()),
        ("margin", pa.float64()),  # logits, of the given label, low is suspect
        ("label_error", pa.bool_()),  # head and neighbours name another class than the given one
        ("certain", pa.bool_()),  # and both the same
        ("copy_of", pa.int64()),  # the run's sample that it is a copy of, -1 for none
        ("copy_kind", pa.string()),  # exact or near
        ("similarity", pa.float64()),
        ("copy_split", pa.string()),  # of that sample
        ("repeat", pa.int64()),  # an earlier image of the batch that it is a copy of, -1 for none
        ("card", pa.binary()),  # a small picture, PNG or JPEG, of those that are named
    ]
)
SPANS = pa.schema(  # one row a finding of a stretch of frames, the most severe first
    [
        ("span", pa.string()),  # the finding's name, kind:SAMPLE with the smallest sample id of the stretch
        ("kind", pa.string()),  # sequence_label or sequence_order
        ("how", pa.string()),  # what mends it: relabel, swap (exchange two labels) or move (exchange two blocks)
        ("sequence", pa.string()),
        ("start", pa.int64()),  # first frame number
        ("middle", pa.int64()),  # first frame number of the second block; missing for relabel
        ("end", pa.int64()),  # last frame number, inclusive
        ("frames", pa.int64()),  # how many frames
        ("severity", pa.float64()),
        ("label", pa.string()),  # as given in most frames; of the first block for swap and move
        ("suggested_label", pa.string()),  # for relabel the label it should have; for swap and move the second block's
    ]
)
LOOKUP_ROWS = 1 << 17  # of a row group: one sample's partners are found in about 15 ms among 40 million rows
SURE = {"page_checksum_verification": True}  # a page that is not as it was written is refused
UNIQUE = ("sample", "path")  # columns whose values do not repeat
Between = tuple[int, int] | None  # sample ids, both ends included; None for all
PAIRS = ("sample", "partner", "partner_split", "correlation", "side", "rank", "scope")


def read_part(file: Path, filters: list[tuple] | None = None, columns: list[str] | None = None) -> pa.Table:
    """One part file as `PART`, with the column `el2n` where it has it; or some rows and columns of it."""
    refuse_pipe(file)
    names = pq.read_schema(file).names
    lacking = next((name for name in PART.names if names.count(name) != 1), None)
    if lacking:
        raise ValueError(f"no column {lacking!r}, or several, in {file.name}")
    has = OPTIONAL.name in names
    schema = PART.append(OPTIONAL) if has else PART
    columns = columns and [name for name in columns if name in schema.names]
    found = read_table(file, columns or schema.names, schema=schema, filters=filters or None, **SURE)
    gaps = next(
        (name for name in ("sample", "predicted") if name in found.column_names and found[name].null_count), None
    )
    if gaps:  # losses that are missing are NaN, which pyarrow keeps as null
        raise ValueError(f"empty cells in the column {gaps!r} of {file.name}")
    return found


def findings_table(findings: list[Finding], samples: pd.DataFrame) -> pd.DataFrame:
    """Findings as the table of the contract. rank counts findings within a kind from 1, most severe first."""
    known = samples.set_index("sample")
    order = sorted(findings, key=lambda f: (KINDS.index(f.kind), -f.severity, min(f.samples)))
    ranks: dict[str, int] = {}
    rows = []
    for finding in order:
        ranks[finding.kind] = ranks.get(finding.kind, 0) + 1
        suggested = finding.labels or (finding.suggested_label,) * len(finding.samples)
        for sample, label in zip(finding.samples, suggested):
            rows.append((finding.kind, sample, label, finding.severity, ranks[finding.kind], finding.name))
    frame = pd.DataFrame(rows, columns=["kind", "sample", "suggested_label", "severity", "rank", "group"])
    frame["path"] = known.loc[frame["sample"], "path"].to_numpy() if rows else ""
    frame["label"] = known.loc[frame["sample"], "label"].to_numpy() if rows else ""
    text = dict.fromkeys(("kind", "path", "label", "suggested_label", "group"), "string")
    return frame[list(FINDINGS)].astype({"sample": "int64", "severity": "float64", "rank": "int64", **text})


def write_sorted(path: Path, table: pa.Table) -> None:
    """Write a table that is sorted by sample, so that a range of it can be read."""
    with rows_writer(path) as append:
        append(table)


@contextmanager
def rows_writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that appends a table to the Parquet file `path`, which is there when the block ends well.

    Row groups are of LOOKUP_ROWS, however long the tables are. The first table says what the columns are.
    """
    waiting: list[pa.Table] = []
    writer: pq.ParquetWriter | None = None

    with atomic(path) as part:

        def write(rows: int) -> None:
            together = pa.concat_tables(waiting)
            writer.write_table(together.slice(0, rows), row_group_size=LOOKUP_ROWS)
            waiting[:] = [together.slice(rows)]

        def append(table: pa.Table) -> None:
            nonlocal writer
            if writer is None:
                # A dictionary of numbers that hardly repeat would double the file, and the time to read it.
                repeated = [one.name for one in table.schema if one.name not in UNIQUE and not floating(one.type)]
                options = {"use_dictionary": repeated, "column_encoding": {"sample": "DELTA_BINARY_PACKED"}}
                writer = pq.ParquetWriter(part, table.schema, compression="zstd", write_page_checksum=True, **options)
            waiting.append(table.cast(writer.schema))
            rows = sum(map(len, waiting))
            if rows >= LOOKUP_ROWS:
                write(rows // LOOKUP_ROWS * LOOKUP_ROWS)

        try:
            yield append
            if writer is not None:
                write(sum(map(len, waiting)))
        finally:
            if writer is not None:
                writer.close()


def within(between: Between) -> list[tuple]:
    """Filters for a range of sample ids."""
    return [] if between is None else [("sample", ">=", int(between[0])), ("sample", "<=", int(between[1]))]
