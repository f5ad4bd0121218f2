"""A text as people read it: its turns under the names of their roles, an excerpt of it, nothing in it that acts.

A conversation is one text in which each turn begins with a line such as `User:`; `joined` writes it, `turns` reads it.
"""

import re
import unicodedata
from collections.abc import Iterable

ROLES = ("System", "Developer", "User", "Human", "Assistant", "Tool", "Function")
ROLES += ("Instruction", "Input", "Output", "Prompt", "Response")
HEADING = re.compile(rf"^({'|'.join(ROLES)}):$", re.MULTILINE)
NAMES = {"gpt": "Assistant", "bot": "Assistant", "model": "Assistant"}
EXCERPT = 280  # characters of a text on a card
WHOLE = 200_000  # characters of a text that are shown at most; a browser scrolls through these at ease
TURNS = 500  # of one text that get a heading
# Characters that turn the direction of what follows them, or are not seen at all.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def joined(parts: Iterable[tuple[str, str]]) -> str:
    """One text out of (role, what was said). A line within a turn that looks like a heading is indented by a blank."""
    turns = []
    for role, words in parts:
        name = NAMES.get(role.strip().lower()) or " ".join(role.split())[:40].capitalize() or "Unknown"
        body = HEADING.sub(lambda match: f" {match[0]}", words.strip("\n"))
        turns.append(f"{name}:\n{body}")
    return "\n\n".join(turns)


def turns(text: str) -> list[tuple[str, str]]:
    """(heading, what stands below it) of each turn; the heading of what stands above the first one is empty."""
    headings = list(HEADING.finditer(text))[:TURNS]
    starts = [0, *(match.end() for match in headings)]
    stops = [*(match.start() for match in headings), len(text)]
    names = ["", *(match[1] for match in headings)]
    parts = [(name, text[start:stop].strip("\n")) for name, start, stop in zip(names, starts, stops)]
    return [turn for turn in parts if turn[0] or turn[1].strip()]


def shown(text: str) -> str:
    """The text with control characters, and those that steer direction or are not seen, as signs that are seen.

    A zero-width joiner or non-joiner stays: some scripts, and emoji, are written with them.
    """
    return _UNSEEN.sub(_sign, text.replace("\r\n", "\n").replace("\r", "\n"))


def _sign(match: re.Match) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"\u27e8U+{code:04X}\u27e9"


def excerpt(text: str, most: int = EXCERPT) -> list[tuple[str, str]]:
    """The turns of a text as far as `most` characters of it go, fit to be shown; an ellipsis where more follows.

    Of a conversation each of the first turns has a share, so that a long question does not hide the answer.
    """
    parts = turns(shown(text[: 40 * most]))
    left, out = most, []
    for at, (name, words) in enumerate(parts):
        share = left if at == len(parts) - 1 else max(left // 2, 40)
        cut = _cut(words, share)
        out.append((name, cut))
        left -= len(cut) + len(name)
        if left < 40 and at < len(parts) - 1:
            out[-1] = (name, cut if cut.endswith("\u2026") else f"{cut} \u2026")
            break
    if out and len(text) > 40 * most and not out[-1][1].endswith("\u2026"):
        out[-1] = (out[-1][0], out[-1][1] + " \u2026")
    return out


def whole(text: str) -> tuple[list[tuple[str, str]], int]:
    """All turns of a text, up to `WHOLE` characters of it, fit to be shown, and how many characters were left out."""
    return turns(shown(text[:WHOLE])), max(0, len(text) - WHOLE)


def line(text: str, most: int) -> str:
    """The beginning of a text on one line."""
    parts = excerpt(text, most)
    return _cut(" ".join(" ".join(f"{name}: {words}" if name else words for name, words in parts).split()), most)


def _cut(text: str, most: int) -> str:
    """At most so many characters, cut between words where there are any, and never within a combined character."""
    if len(text) <= most:
        return text
    head = text[:most]
    while head and unicodedata.combining(text[len(head)]):
        head = head[:-1]
    space = max(head.rfind(" "), head.rfind("\n"))
    return (head[:space] if space > most // 2 else head).rstrip() + "\u2026"
