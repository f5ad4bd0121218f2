"""One question to an expert: the image or images, the choices as keys and buttons, search, comment, progress."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from lossprint.app.elements.gallery import part
from lossprint.app.elements.keys import KEYS
from lossprint.app.elements.proof import Print, Side


@dataclass(frozen=True)
class Shown:
    """An image of a question, or a text as its `turns`; `noun` says which.

    The data URI `src` of an image is left out when the browser has it already; see `question`.
    """

    id: str
    src: str | None
    alt: str
    pixelated: bool = False
    width: int = 1
    height: int = 1
    title: str = ""
    note: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    noun: str = "image"


@dataclass(frozen=True)
class Choice:
    """An answer. `keys` take it by keyboard, the first is shown; `id` comes back.

    `kind`: main, wide, plain, or taken: greyed, as its label has a button of its own.
    """

    id: str
    text: str
    keys: tuple[str, ...] = ()
    kind: str = "plain"


@dataclass(frozen=True)
class Question:
    """What is asked; all texts are shown as text. `token` names this asking: an answer carries it back.

    `labels` can be searched for, and come back as the choice `label:NAME`; `codes` are their keys. With `fresh` a new
    class can be typed, and comes back as `new:NAME`; `known` are those that it may not be. `images` are shown large,
    `coming` are fetched for the next question. `done` of `of` are answered; `left` says how long the rest takes; `said`
    what was stored last; `notice` what to know before answering, such as that somebody else has just answered.
    `strip`: the images are frames of a video, small and in order. `sides`: examples of the given and of the suggested
    class, left and right of a single image; `print`: its loss print, below.
    """

    token: str
    title: str
    images: tuple[Shown, ...]
    choices: tuple[Choice, ...]
    labels: tuple[str, ...] = ()
    codes: tuple[tuple[str, str], ...] = ()
    fresh: bool = False
    known: tuple[str, ...] = ()
    given: str = ""
    suggested: str = ""
    about: str = ""
    hint: str = ""
    notice: str = ""
    said: str = ""
    strip: bool = False
    coming: tuple[Shown, ...] = ()
    done: int = 0
    of: int = 0
    left: str = ""
    sides: tuple[Side, ...] = ()
    print: Print | None = None


_HTML = f"""
<div class="card" role="group" aria-label="Question">
  <div class="progress"><div class="track" role="progressbar" aria-label="Reviewed"><div class="fill"></div></div>
    <div class="count"></div></div>
  <div class="columns">
    <div class="look">
      <div class="between"><div class="left"></div><div class="pictures"></div><div class="right"></div></div>
      <div class="prints"></div>
    </div>
    <div class="ask">
      <h3 class="title"></h3>
      <div class="labels"></div>
      <div class="notice" role="alert" hidden></div>
      <div class="choices"></div>
      <div class="search" hidden>
        <input class="find" type="text" role="combobox" aria-expanded="false" aria-controls="found"
          aria-label="Search another label" autocomplete="off" spellcheck="false">
        <ul class="found" id="found" role="listbox" aria-label="Labels found" hidden></ul>
      </div>
      <div class="hint"></div>
      <input class="comment" type="text" maxlength="500" aria-label="Comment" autocomplete="off"
        placeholder="Comment (C), stored with the answer">
      <div class="tools">
        <button type="button" class="skip" aria-keyshortcuts="s"><kbd>S</kbd> Skip</button>
        <button type="button" class="undo" aria-keyshortcuts="{KEYS["undo"].lower()}">
          <kbd>{KEYS["undo"]}</kbd> Undo</button>
        <button type="button" class="redo" aria-keyshortcuts="{KEYS["redo"].lower()}">
          <kbd>{KEYS["redo"]}</kbd> Redo</button>
        <button type="button" class="zoom" aria-keyshortcuts="z" aria-pressed="false"><kbd>Z</kbd> Zoom</button>
        <details class="light">
          <summary>Light</summary>
          <label>Brightness <input class="brightness" type="range" min="0.1" max="4" step="0.05" value="1"></label>
          <label>Contrast <input class="contrast" type="range" min="0.1" max="4" step="0.05" value="1"></label>
          <button type="button" class="plain">As it was</button>
        </details>
      </div>
      <div class="said" role="status" aria-live="polite"></div>
      <div class="about"></div>
    </div>
  </div>
</div>
"""
_CARD = st.components.v2.component(
    "lossprint_question",
    html=_HTML,
    css=part("question.css") + part("print.css") + part("words.css"),
    js=part("dom.js") + part("print.js") + part("question.js"),
)
_SENT = "_question_sent"  # ids of the images that this session's browser holds
HELD = 16  # as many as question.js keeps: those of two questions


def question(
    content: Question,
    *,
    key: str,
    on_answer: Callable[[Mapping], None],
    on_skip: Callable[[str], None],
    on_undo: Callable[[], None],
    on_redo: Callable[[], None],
) -> None:
    """Draw the question. `on_answer` gets token, choice, comment and seconds (how long it was looked at).

    An image that was sent as one of `coming` is not sent again, so that it is there before it is asked for; where the
    browser has lost it (another page was open in between), it asks for it.
    """
    sent: list[str] = st.session_state.setdefault(_SENT, [])

    def once(images: Sequence[Shown]) -> list[dict]:
        out = []
        for image in images:
            fields = asdict(image)
            if image.src is not None:
                fields["held"] = image.id in sent
                if image.id in sent:
                    fields["src"] = None
                else:
                    sent.append(image.id)
            out.append(fields)
        return out

    def value(name: str):
        return st.session_state[key].get(name)

    def answered() -> None:
        if value("answer"):
            on_answer(dict(value("answer")))

    def skipped() -> None:
        if value("skip"):
            on_skip(str(value("skip")["token"]))

    def undone() -> None:
        if value("undo"):
            on_undo()

    def again() -> None:
        if value("redo"):
            on_redo()

    images, coming = once(content.images), once([image for image in content.coming if not image.turns])
    fresh = [image.id for image in (*content.images, *content.coming)]
    # The browser drops the oldest of its images: so does this list.
    st.session_state[_SENT] = [name for name in sent if name not in fresh][-(HELD - len(fresh)) :] + list(
        dict.fromkeys(fresh)
    )
    _CARD(
        key=key,
        data={
            **asdict(content),
            "images": images,
            "coming": coming,
            "hold": HELD,
            "undo": KEYS["undo"],
            "redo": KEYS["redo"],
        },
        on_answer_change=answered,
        on_skip_change=skipped,
        on_undo_change=undone,
        on_redo_change=again,
        on_lost_change=lambda: st.session_state.pop(_SENT, None),
    )
