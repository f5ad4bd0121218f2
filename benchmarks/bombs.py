"""How much memory small files take that say, or do not say, that they are large: each read in a process of its own.

    python benchmarks/bombs.py                # with the bounds
    python benchmarks/bombs.py --unbounded    # without them, as it was before; takes gigabytes

Each line: the file, its size, the most memory beyond that of a process that has only imported the program, and what was
said.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.system import bounds, parquet
from lossprint.audit.system.memory import free_memory, peak

LONG = "x" * 1_000_000


def many_rows(file: Path) -> None:
    rows = 30_000_000
    same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["label_error:1"]))
    columns = dict.fromkeys(("kind", "path", "label", "suggested_label", "group"), same)
    numbers = {name: np.zeros(rows) for name in ("sample", "severity", "rank")}
    pq.write_table(pa.table(columns | numbers), file, compression="zstd")


def long_texts(file: Path) -> None:
    pq.write_table(pa.table({"path": [LONG] * 3000, "sample": range(3000)}), file, compression="zstd")


def prefixed_texts(file: Path) -> None:
    table = pa.table({"path": [LONG] * 3000, "sample": range(3000)})
    how = {"use_dictionary": False, "column_encoding": {"path": "DELTA_BYTE_ARRAY"}}
    pq.write_table(table, file, compression="zstd", **how)


def arrays(file: Path) -> None:
    np.savez_compressed(file, train_losses=np.zeros((1_000_000, 300)), val_losses=np.zeros((1, 300)))


def whole_table(file: Path) -> None:
    parquet.read_table(file).to_pandas()


def losses(file: Path) -> None:
    from lossprint.audit.recording.imported import _load_npz

    _load_npz(file)


BOMBS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "rows.parquet": (many_rows, whole_table),
    "texts.parquet": (long_texts, whole_table),
    "prefixes.parquet": (prefixed_texts, whole_table),
    "losses.npz": (arrays, losses),
}


def measure(name: str, file: Path, unbounded: bool, answers) -> None:
    if unbounded:
        bounds.most_of = parquet.most_of = lambda size: free_memory()
        parquet.repeated = lambda file: []
        parquet._longest_of_prefixed = lambda file: 0
    before, words = peak(), "read"
    try:
        BOMBS[name][1](file)
    except Exception as error:  # whatever is said
        words = f"{type(error).__name__}: {error}"
    answers.put((peak() - before, words))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unbounded", action="store_true")
    unbounded = parser.parse_args().unbounded
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, _) in BOMBS.items():
            file = Path(folder) / name
            maker = fresh.Process(target=make, args=(file,))
            maker.start()
            maker.join()
            answers = fresh.Queue()
            reader = fresh.Process(target=measure, args=(name, file, unbounded, answers))
            reader.start()
            size, words = answers.get(timeout=600)
            reader.join()
            print(f"{name:18} {file.stat().st_size / 1e6:6.2f} MB  {size / 1e9:5.2f} GB  {words[:110]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
