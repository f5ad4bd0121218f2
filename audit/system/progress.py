"""Progress bars, on a terminal and, for whoever started the program, in a file."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

FILE = "LOSSPRINT_PROGRESS"  # in the environment: the file in which the bars of this process say how far they are
EVERY = 1.0  # seconds between two lines of it


def bar_style() -> dict:
    """tqdm's layout; a log file that is no terminal gets a line now and then, not hundreds."""
    terminal = sys.stderr.isatty()
    return {"mininterval": 0.2 if terminal else 15, "dynamic_ncols": terminal, "smoothing": 0.1, "unit_scale": True}


class Bar(tqdm):
    """tqdm that also writes how far it is to the file named by `FILE`, if there is one; a bar that is not drawn, too.

    The file holds one JSON object, whole at any moment: step (the bar's name), done, total (null if unknown), unit,
    began and at (seconds since 1970), first (what was done when it began). It is replaced at most once a second.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        name = os.environ.get(FILE)
        self.file = Path(name) if name else None
        self.step, self.first = options.get("desc") or "", options.get("initial") or 0
        self.word = options.get("unit", "it")
        self.done, self.began, self.written = self.first, time.time(), 0.0
        self._write()

    def __iter__(self) -> Iterator:
        if self.file is None:
            yield from super().__iter__()
            return
        for one in self.iterable:
            yield one
            self.update()
        self.close()

    def update(self, n: float = 1) -> bool | None:
        drawn = super().update(n)
        if self.file is not None:
            self.done += n
            if time.time() - self.written >= EVERY:
                self._write()
        return drawn

    def close(self) -> None:
        super().close()
        if getattr(self, "file", None) is not None and self.written:
            self._write()
            self.file = None

    def _write(self) -> None:
        if self.file is None:
            return
        self.written = time.time()
        about = {"step": self.step, "done": self.done, "total": self.total, "unit": self.word}
        about |= {"began": self.began, "at": self.written, "first": self.first}
        part = self.file.with_name(f".{self.file.name}.part")
        with suppress(OSError):  # nobody's work ends because nobody can be told of it
            part.write_text(json.dumps(about), encoding="utf-8")
            part.replace(self.file)
