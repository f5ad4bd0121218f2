"""What a user sees when something goes wrong: one line, never a traceback."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import streamlit as st

from lossprint.app.access import roles
from lossprint.app.shared import parts
from lossprint.audit.types import LossprintError

log = logging.getLogger("lossprint.app")


def _download_in_one_line(record: logging.LogRecord) -> bool:
    """Streamlit makes a file when it is clicked, and logs a traceback where that fails; a known fault is one line."""
    cause = record.exc_info[1].__cause__ if record.exc_info and record.exc_info[1] else None
    if isinstance(cause, LossprintError):
        record.msg, record.args, record.exc_info = "a download failed: %s", (cause,), None
    return True


logging.getLogger("streamlit.runtime.backend_operation_handler").addFilter(_download_in_one_line)


def still_in() -> None:
    """Within what is drawn without main.py: draw the whole page anew, which asks for a login, where that has ended."""
    if roles.visitor().role is None:
        st.rerun()


def fragment(draw: Callable, every: float | None = None) -> Callable:
    """st.fragment for whoever is still let in; drawn anew `every` so many seconds, if given."""

    @wraps(draw)
    def inside(*args, **options) -> None:
        still_in()
        draw(*args, **options)

    return st.fragment(inside, run_every=every)


@contextmanager
def one_line() -> Iterator[None]:
    """Show a known fault as its own line, any other as a general one with the detail in the server's log."""
    try:
        yield
    except LossprintError as error:
        st.error(parts.md(error), icon=":material/error:")
    except Exception as error:
        # st.stop, st.rerun and st.switch_page are no Exceptions, and pass.
        failed(error)


def failed(error: Exception) -> bool:
    """Show the general line. Also the server's handler for faults in callbacks, which it tells that all is said."""
    log.error("a page failed", exc_info=error)
    st.error(
        f"This page could not be shown ({type(error).__name__}). The details are in the terminal that runs Lossprint. "
        "Other pages may still work.",
        icon=":material/error:",
    )
    return True
