"""Small pieces of HTML for the report. Whatever comes from a dataset or a reviewer goes through `text` or `name`."""

import html
import re
from collections.abc import Iterable
from datetime import datetime

from lossprint.audit import words
from lossprint.audit.words import NBSP

# Control characters, which HTML forbids, and those that turn the direction of what follows them.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
SPLITS = {"train": "training", "val": "validation", "test": "test"}
DASH = "–"


def text(value: object, most: int = 120) -> str:
    """Foreign text as HTML, on one line and at most so many characters long."""
    plain = _UNFIT.sub("\ufffd", " ".join(str(value).split()))
    return html.escape(plain if len(plain) <= most else plain[: most - 1] + "…")


def name(value: object, most: int = 80) -> str:
    """A label, a path or a person's name within a sentence, whatever direction it is written in."""
    return f"<bdi>{text(value, most)}</bdi>"


def path(value: object, most: int = 90) -> str:
    """A path; of a long one its end."""
    plain = " ".join(str(value).split())
    shown = plain if len(plain) <= most else "…" + plain[1 - most :]
    return f"<bdi class='path'>{text(shown, most)}</bdi>"


def prose(sentence: str) -> str:
    """A sentence of ours as HTML, without a line break between a number and its sign."""
    return text(sentence, 800).replace(" %", f"{NBSP}%")


def css_string(value: str, most: int = 80) -> str:
    """Foreign text as a string in a style sheet: everything but letters and digits is escaped."""
    plain = _UNFIT.sub("\ufffd", " ".join(value.split()))[:most]
    return '"' + "".join(one if one.isalnum() and one.isascii() else f"\\{ord(one):06x}" for one in plain) + '"'


# ------------------------------------------------------------------------------------------------- numbers and dates


percent, listed = words.percent, words.listed  # names to be listed are HTML already


def plural(number: int, one: str, many: str = "") -> str:
    """On a page the number stays with its noun."""
    return words.plural(number, one, many, NBSP)


def day(at: object) -> str:
    """An ISO time as `25 November 2026`, in HTML; what is no time as it is."""
    try:
        when = datetime.fromisoformat(str(at))
    except ValueError:
        return text(at, 40)
    return f"{when.day}{NBSP}{MONTHS[when.month - 1]} {when.year}"


def iso_day(at: object) -> str:
    """The day of an ISO time, such as 2026-11-25, in HTML."""
    return f"<time>{text(str(at)[:10], 10)}</time>"


def moment(at: object) -> str:
    """An ISO time as `2026-11-25 14:05`, in HTML."""
    try:
        return datetime.fromisoformat(str(at)).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text(at, 40)


# ------------------------------------------------------------------------------------------------- blocks


def section(key: str, title: str, *parts: str) -> str:
    """`key` is the section's address within the page; title is text of ours."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{key}" aria-labelledby="{key}-title">\n<h2 id="{key}-title">{title}</h2>\n{body}\n</section>'


def p(*sentences: str, kind: str = "") -> str:
    said = " ".join(one for one in sentences if one)
    return f"<p{_class(kind)}>{said}</p>" if said else ""


def bullets(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{one}</li>" for one in items) + "</ul>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values as a list; pairs without a value are left out."""
    rows = "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in pairs if value)
    return f'<dl class="facts">{rows}</dl>'


def table(caption: str, head: list[str], rows: Iterable[list[str]], kind: str = "") -> str:
    """A table. Cells are HTML, the first of a row names it; a head that starts with > is that of numbers."""
    right = [one.startswith(">") for one in head]
    caption = html.escape(caption)
    top = "".join(f'<th scope="col"{_class("n" * at)}>{one.lstrip(">")}</th>' for one, at in zip(head, right))
    body = []
    for first, *rest in rows:
        cells = "".join(f"<td{_class('n' * at)}>{cell}</td>" for cell, at in zip(rest, right[1:]))
        body.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    # A wide table scrolls by itself on a narrow screen, also by keyboard, so that the page does not.
    wide = f' class="scroll" tabindex="0" role="group" aria-label="{caption}"' if len(head) > 3 or kind else ""
    return (
        f"<div{wide}><table{_class(kind)}><caption>{caption}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def command(line: str) -> str:
    return f'<pre tabindex="0"><code>{html.escape(_UNFIT.sub(chr(0xFFFD), line))}</code></pre>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
