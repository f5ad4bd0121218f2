"""Parts of a page that are drawn once they come into view, so that what is seen first is there first."""

from collections.abc import Callable

import streamlit as st

from lossprint.app.shared import guard

_SENTINEL = st.components.v2.component(
    "lossprint_sentinel",
    html='<div class="wait"></div>',
    css=".wait { height: var(--height) }",
    js="""
export default function ({ data, parentElement, setTriggerValue }) {
  const wait = parentElement.querySelector(".wait")
  wait.style.setProperty("--height", data.height + "px")
  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return
    watch.disconnect()
    setTriggerValue("seen", Date.now())
  }, { rootMargin: "250px" })
  watch.observe(wait)
  return () => watch.disconnect()
}
""",
)
SEEN = "_seen"  # what has come into view in this session


@guard.fragment
def when_seen(name: str, draw: Callable, *args, height: int = 400) -> None:
    """Call `draw(*args)` when its place on the page comes near the window; until then that is `height` pixels high.

    `name` says what it is about, such as `story of sample 17`: what was seen once is drawn at once the next time.
    """
    seen = st.session_state.setdefault(SEEN, set())
    if name in seen or not st.context.headers.get("User-Agent"):  # no browser, nothing to wait for
        with guard.one_line():
            draw(*args)
        return
    _SENTINEL(key=f"later-{name}", data={"height": height}, on_seen_change=lambda: seen.add(name))
