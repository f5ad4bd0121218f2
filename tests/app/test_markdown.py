"""No text of a run, a file or a user reaches an element that draws Markdown other than through `md`."""

import ast
import inspect
import re

import markdown_calls
import markdown_elements
import markdown_syntax
import pytest
from streamlit.delta_generator import DeltaGenerator

from lossprint.app.shared import parts

OURS = markdown_syntax.sources("app", "audit", "scoring")
FEW = {name: text for name, text in OURS.items() if name in ("app.shared.parts", "audit.words")}


def test_every_element_that_draws_markdown_gets_plain_text():
    app = markdown_calls.App(OURS)
    assert app.foreign() == []
    assert sum(len(markdown_syntax.drawn(call)) for calls in app.calls.values() for _, call in calls) > 500


@pytest.mark.parametrize(
    "line",
    [
        'st.warning(f"There is no {label}")',
        "st.markdown(loaded.samples.at[sample, 'path'])",
        "left.caption(str(error))",
        'st.pills("Who", names)',
        'st.pills("Who", names, format_func=str)',
        'st.radio("Who", ["a"], captions=[label])',
        'st.segmented_control("Of", options=list(loaded.classes))',
        'parts.one_of("Of", loaded.classes, default=None)',
        'st.button(f"It is {label}")',
        'st.tabs([f"{label}", "b"])',
        'st.metric("a", 1, label)',
        'st.button("a", help=label)',
        'st.progress(0.5, f"{label}")',
        'st.expander("a" if label else label)',
        'st.toast(", ".join(loaded.classes))',
        'st.popover(parts.md(label) + " " + label)',
        'parts.empty("None", f"of {label}")',
        'parts.link("labels", label)',
        'st.caption(st.session_state.get("_said"))',
        "st.info(title(label))",
        "st.write(label)",
        "st.subheader(SPLITS.get(label, label))",
        "[st.caption(one) for one in loaded.classes]",
        'st.dialog(f"Drop {label}?")(render)()',
    ],
)
def test_a_foreign_text_is_seen(line):
    assert foreign(line) - foreign('st.caption("a")')


def foreign(line: str) -> set[tuple[str, int, str]]:
    """(module, line, text) of what is foreign in a page that has this line, and in the functions that it calls."""
    page = f"""
import streamlit as st
from lossprint.app.shared import parts
SPLITS = {{"a": "b"}}
def title(label):
    return f"The label {{label}}"
def render(loaded, sample, names, error):
    label = loaded.samples.at[sample, "label"]
    st.session_state["_said"] = f"{{label}} is gone"
    parts.empty("None", "None of {{len(names)}}")
    parts.link("labels", parts.md(label))
    {line}
"""
    return set(markdown_calls.App(FEW | {"app.views.planted": page}).foreign())


def test_the_table_of_elements_is_that_of_streamlit():
    """Each element that the app calls and whose documentation says that a text of it may be Markdown."""
    documented = {
        name
        for name, element in inspect.getmembers(DeltaGenerator, callable)
        if not name.startswith("_") and "GitHub-flavored Markdown" in (inspect.getdoc(element) or "")
    }
    calls = markdown_calls.App(OURS).calls
    called = {
        name for name in documented if any(ast.unparse(call.func) == f"st.{name}" for _, call in calls.get(name, ()))
    }
    assert len(called) > 15
    assert called <= set(markdown_elements.ELEMENTS)


@pytest.mark.parametrize(
    "text",
    ["xmpp:x@y.org", "mailto:a@b.org", "ann@lab.example", "www.evil.invalid", "https://x.org", "a_b@c.d/e"],
)
def test_no_address_is_left_that_a_browser_would_link(text):
    linked = re.compile(r"(https?://|www\.)[-.\w]+|[-.\w+]+@[-\w]+(\.[-\w]+)+", re.IGNORECASE)
    shown = re.sub(r"\\(.)", r"\1", parts.md(text))  # as Markdown's own reading leaves it, before it looks for links
    assert linked.search(text) and not linked.search(shown)
    assert shown.replace("\u2060", "") == text


@pytest.mark.parametrize(
    "text", ["$a$", ":red[x]", ":material/home:", ":skull:", "**b**", "<b>", "`c`", "![i](http://x/y)"]
)
def test_markup_is_spelled_out(text):
    shown = parts.md(text)
    assert re.sub(r"\\(.)", r"\1", shown).replace("\u2060", "") == text
    assert not re.search(r"(?<!\\)[$:*<`\[\]!_]", shown)
