"""JSON from outside: what nests deeper than Python reads is a ValueError like every other fault of it."""

import json
from typing import Any


def parsed(text: str | bytes | bytearray) -> Any:
    """`json.loads`. Raises ValueError for whatever is no JSON, or nests too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"JSON that nests too deep: {error}") from None
