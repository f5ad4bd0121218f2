"""Several processes at once, forked from one that has the modules loaded already: seconds less than starting each."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO

from helpers import until_it_answers

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

CONTEXT = multiprocessing.get_context("forkserver")
# What the app imports beside its own modules: those make caches, and look at the environment, as they are imported.
OF_THE_APP = ["plotly.graph_objects", "pyarrow.parquet", "scipy.stats", "streamlit.testing.v1", "uvicorn"]
CONTEXT.set_forkserver_preload(
    ["lossprint.audit.review.reviews", "alembic.command", "psycopg", "helpers", "postgres", *OF_THE_APP, "quick"]
)


@contextmanager
def no_main() -> Iterator[None]:
    """Start processes within: each first runs its parent's main file again, and Streamlit's AppTest leaves a script
    there that is gone by now."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def warm_server(arguments: list[str], url: str, log: IO[str]) -> Iterator[None]:
    """`python -m lossprint.app.serve ARGUMENTS` until the block ends; what it says goes to the named file `log`."""
    server = CONTEXT.Process(target=_serve, args=(arguments, dict(os.environ), os.getcwd(), log.name), daemon=True)
    with no_main():
        server.start()
    try:
        until_it_answers(url, log, server.is_alive)
        yield
    finally:
        server.terminate()
        server.join(20)
        server.kill()
        server.join()


def _serve(arguments: list[str], environment: dict[str, str], folder: str, log: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    out = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    from lossprint.app import serve

    sys.argv = [serve.__file__, *arguments]  # Streamlit looks for its config.toml beside this
    sys.exit(serve.main())


def at_once(run, url: str | None, act, names: list[str]) -> list:
    """What act(reviews, name) returns for each name, all called at the same moment, each in a process of its own.

    `url` as for open_reviews: the processes do not see this one's environment.
    """
    start, queue = CONTEXT.Barrier(len(names)), CONTEXT.Queue()
    workers = [CONTEXT.Process(target=_one, args=(run.path, url, act, name, start, queue)) for name in names]
    with no_main():
        for worker in workers:
            worker.start()
    try:
        said = dict(queue.get(timeout=60) for _ in workers)
    finally:
        for worker in workers:
            worker.join(30)
            worker.kill()
    assert [worker.exitcode for worker in workers] == [0] * len(names)
    return [said[name] for name in names]


def _one(path: Path, url: str | None, act, name: str, start, queue) -> None:
    reviews = open_reviews(open_run(path), url)
    start.wait(60)
    queue.put((name, act(reviews, name)))
