"""What a check found, as one HTML file with pictures: complete in itself, it loads nothing and runs nothing."""

import base64
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lossprint.audit import report
from lossprint.audit.check.cards import MOST, named
from lossprint.audit.check.looked_for import KINDS
from lossprint.audit.check.quality import WORDS
from lossprint.audit.check.words import sentences, unjudged
from lossprint.audit.report import words
from lossprint.audit.runs.open import version
from lossprint.audit.words import plural

MARK = '<!doctype html>\n<html lang="en">\n<!-- lossprint check -->\n'  # how each starts
SECTIONS = {
    "foreign": "Foreign images",
    "leak": "Copies of validation and test images",
    "copy": "Copies of images of the run",
    "repeat": "Copies inside the batch",
    "label_error": "Labels that are probably wrong",
    "unknown_label": "Labels that the run does not have",
}


def html(result: dict, samples: pd.DataFrame) -> bytes:
    """The page of a result, as `check.check` gives both."""
    found = {kind: named(samples, kind) for kind in SECTIONS}
    context = {
        **{"result": result, "sections": SECTIONS, "kinds": KINDS, "found": found, "most": MOST, "measures": WORDS},
        **{"sentences": sentences(result), "unjudged": unjudged(result), "version": version(), "uri": uri},
        "plural": plural,
    }
    return _environment().get_template("check.html.j2").render(context).encode("utf-8")


def uri(card: bytes | None) -> str | None:
    """A small picture as a data URI; None for none, and for bytes that are neither PNG nor JPEG."""
    if not isinstance(card, bytes) or card[:4] not in (
        b"\x89PNG",
        *(b"\xff\xd8\xff" + bytes([one]) for one in range(256)),
    ):
        return None
    kind = "png" if card[:4] == b"\x89PNG" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(card).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, Path(report.__file__).parent]),
        autoescape=True,
        finalize=words.printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (words.text, words.name, words.path, words.given, words.other, words.prose, words.fixed, words.percent)
    environment.filters |= {function.__name__: function for function in filters}
    return environment
