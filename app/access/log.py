"""The server's log without what it was about: where something failed and what kind of fault, not the words of it.

The message of an exception can quote a label, a parameter of a URL, a token. Its type and the lines it passed cannot.
"""

import logging
import traceback
from pathlib import Path

from lossprint.audit.types import LossprintError

DEEP = 8  # frames
AUTH = "streamlit.web.server.starlette.starlette_auth_routes"


def install() -> None:
    """Let every log record of this process be made that way."""
    make = logging.getLogRecordFactory()

    def quiet(*args, **kwargs) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.name == AUTH and record.args and "Error description" in str(record.msg):
            record.msg, record.args = "a sign-in was refused by the login provider", ()
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        # Known faults are one line of ours: guard.py shows them as such.
        if error is not None and not isinstance(error.__cause__, LossprintError):
            record.msg, record.args = f"{record.getMessage()}: {where(error)}", ()
            record.exc_info = record.exc_text = None
        return record

    logging.setLogRecordFactory(quiet)


def where(error: BaseException) -> str:
    """The type of a fault and the lines that it passed, innermost first, in one line; its causes after it."""
    told = []
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        lines = [
            f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in traceback.extract_tb(error.__traceback__)
        ]
        told.append(f"{type(error).__name__} at {' < '.join(lines[::-1][:DEEP]) or 'an unknown place'}")
        error = error.__cause__ or error.__context__
    return "; from ".join(told)
