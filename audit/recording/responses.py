"""What a language model made of prompt/response pairs: a loss with and one without the prompt, read from a table.

A row a pair: sample (id or path), `loss` and, where there is one, `alone`, of the same response without its prompt, in
nats. With a column `tokens` both are sums over so many tokens of the response, without one they are means. Or a row a
token: a column `token` says so, and rows of a sample are summed; a token whose `loss` is empty is one of the prompt.
What is kept in the run, responses.parquet, are means.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import RESPONSES
from lossprint.audit.system.atomic import refuse_pipe, write_table
from lossprint.audit.system.csvrows import csv_rows
from lossprint.audit.system.parquet import read_table
from lossprint.audit.types import LossprintError, one_line
from lossprint.audit.words import plural
from lossprint.scoring.texts import response

PARQUET = (".parquet", ".pq")
NUMBERS = ("loss", "alone", "tokens")


def read_responses(run: Run, file: str | Path) -> pd.DataFrame:
    """The pairs of a CSV or Parquet file, columns `RESPONSES`, by sample. LossprintError, in one line, for columns that
    are missing, numbers that are none or negative, and samples that the run does not have or that come twice."""
    file = Path(file)
    try:
        refuse_pipe(file)
        table = read_table(file).to_pandas() if file.suffix.lower() in PARQUET else _of_csv(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise LossprintError(f"expected losses of responses in {file}, found: {one_line(error)}") from None
    key = next((name for name in ("sample", "path", "id") if name in table), None)
    if key is None or "loss" not in table:
        found = ", ".join(map(repr, table.columns))[:200] or "none"
        raise LossprintError(f"expected the columns sample (or path) and loss in {file}, found {found}")
    numbers = {name: _numbers(table[name], name, file) for name in NUMBERS if name in table}
    ids = _ids(run, table[key], key, file)
    if "token" in table:
        if "tokens" in numbers:
            raise LossprintError(f"expected a column token, of a row a token, or tokens, found both in {file}")
        frame = _summed(ids, numbers)
    else:
        frame = pd.DataFrame({"sample": ids, **numbers})
        twice = frame["sample"].duplicated()
        if twice.any():
            place = table[key][twice.to_numpy()].iloc[0]
            raise LossprintError(
                f"expected a row a sample in {file}, found {str(place)!r} again: a row a token has a column token"
            )
    return responses(frame.pop("sample").to_numpy(), **{name: frame[name].to_numpy() for name in frame}, source=file)


def responses(sample, loss, alone=None, tokens=None, source: object = "the arrays") -> pd.DataFrame:
    """Columns `RESPONSES` from samples (N,), losses (N,) with and without the prompt and counts of tokens (N,).

    With `tokens` both losses are sums over these, without they are means. LossprintError for negative ones.
    """
    sample = np.asarray(sample, np.int64)
    alone = np.full(len(sample), np.nan) if alone is None else np.asarray(alone, float)
    try:
        if tokens is not None:
            counts = np.where(np.isnan(np.asarray(tokens, float)), 0, tokens)
            loss, alone = response.per_token(loss, counts), response.per_token(np.asarray(alone, float), counts)
        response.ifd(loss, alone)
    except ValueError as error:
        raise LossprintError(f"expected losses and counts of tokens of {source}, found: {one_line(error)}") from None
    count = np.full(len(sample), np.nan) if tokens is None else np.asarray(tokens, float)
    frame = pd.DataFrame({"sample": sample, "tokens": count, "loss": np.asarray(loss, float), "alone": alone})
    return frame.sort_values("sample", ignore_index=True)


def write_responses(run: Run, frame: pd.DataFrame) -> None:
    """Keep them in the run, in the place of earlier ones; scoring makes its columns of them."""
    table = pa.Table.from_pandas(frame[RESPONSES.names], schema=RESPONSES, preserve_index=False)
    write_table(run.path / "responses.parquet", table)


def scores_of(run: Run) -> pd.DataFrame | None:
    """The columns response_loss and ifd by sample; None without responses."""
    if not (run.path / "responses.parquet").exists():
        return None
    table = run.table("responses.parquet").drop_duplicates("sample", keep="last").set_index("sample")
    loss, alone = (table[name].astype(float).clip(lower=0).to_numpy() for name in ("loss", "alone"))
    return pd.DataFrame({"response_loss": loss, "ifd": response.ifd(loss, alone)}, table.index)


def _of_csv(file: Path) -> pd.DataFrame:
    header, rows, _ = csv_rows(file)
    return pd.DataFrame(rows, columns=[name.strip().lower() for name in header], dtype=str)


def _numbers(column: pd.Series, name: str, file: Path) -> np.ndarray:
    cells = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    values = pd.to_numeric(cells.mask(cells == "", "nan"), errors="coerce").to_numpy(float)
    wrong = (
        (np.isnan(values) & ~cells.str.lower().isin(["", "nan", "none"]).to_numpy()) | (values < 0) | np.isinf(values)
    )
    if wrong.any():
        raise LossprintError(
            f"expected numbers of 0 or more as {name} in {file}, found {cells[wrong].iloc[0]!r} in row "
            f"{int(np.argmax(wrong)) + 1}"
        )
    return values


def _ids(run: Run, column: pd.Series, key: str, file: Path) -> np.ndarray:
    """Sample ids (N,) from ids or paths."""
    samples = run.samples(columns=["sample", "path"])
    cells = column.astype(str).str.strip()
    whole = key == "sample" and cells.str.fullmatch(r"\d{1,18}").all()
    if whole:
        known = pd.Index(samples["sample"])
        rows = known.get_indexer(cells.astype("int64"))
    else:
        known = pd.Index(samples["path"].astype(str))
        rows = known.get_indexer(cells)
    if (rows < 0).any():
        raise LossprintError(
            f"expected samples of {run.path} in {file}, found {cells[rows < 0].iloc[0]!r} "
            f"({plural(int((rows < 0).sum()), 'row')} of that kind)"
        )
    return samples["sample"].to_numpy(np.int64)[rows]


def _summed(ids: np.ndarray, numbers: dict[str, np.ndarray]) -> pd.DataFrame:
    """A row a sample from a row a token. Both losses are over the same tokens, those that have a loss."""
    losses = numbers["loss"]
    sample, totals, counts = response.summed(ids, losses)
    frame = pd.DataFrame({"sample": sample, "loss": totals, "tokens": counts.astype(float)})
    if "alone" in numbers:
        both = np.where(np.isnan(losses), np.nan, numbers["alone"])
        _, alone, known = response.summed(ids, both)
        frame["alone"] = np.where(known == counts, alone, np.nan)
    return frame
