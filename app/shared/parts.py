"""Small pieces that several pages share: headings, empty states, images and texts, links, escaping."""

import html
import re
from time import monotonic
from urllib.parse import quote

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from lossprint.app import data
from lossprint.app.elements import Tile, reader
from lossprint.audit.words import plural

CHART = {"displayModeBar": False, "scrollZoom": False, "doubleClick": "reset", "responsive": True}
SPLITS = {"train": "training", "val": "validation", "test": "test"}
STALE = 2.0  # seconds
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>$~:&])")
# A browser's markdown links addresses of the web and of mail (so xmpp: and mailto: too), escaped or not.
_LINKS = re.compile(r"https?:(?=//)|www(?=\.)|@", re.IGNORECASE)


def md(value: object) -> str:
    """A label, name, path or error as plain text inside markdown: one line, no markup, no HTML, no formula, no link.

    All that is not the program's own goes through this on its way into an element that draws Markdown.
    """
    return _MARKS.sub(r"\\\1", _LINKS.sub("\\g<0>\u2060", " ".join(str(value).split())))


def dark() -> bool:
    """Whether the reader's theme is dark, as far as the browser has said."""
    return st.context.theme.type == "dark"


def header(title: str, question: str) -> None:
    """The page's title and, in one line, the question that it answers."""
    st.title(title, anchor=False)
    st.caption(question)


def empty(title: str, text: str, icon: str = "check_circle") -> None:
    """What a page shows where there is nothing to show, with what to do next."""
    with st.container(border=True, horizontal_alignment="center", gap="xxsmall"):
        st.space("small")
        st.subheader(f":material/{icon}: {title}", anchor=False, text_alignment="center")
        st.markdown(text, text_alignment="center")
        st.space("small")


def chart(figure: go.Figure, alt: str, key: str) -> None:
    """Draw a figure that takes no clicks. `alt` says to a screen reader what it shows."""
    st.plotly_chart(figure, key=key, alt=alt, theme=None, config=CHART, height="content")


# ---------------------------------------------------------------------------------------------- pages


def remember_pages(pages: dict[str, object]) -> None:
    """Keep the st.Page objects by name, so that any page can link to any other."""
    st.session_state["_pages"] = pages


def url_asks(name: str) -> str | None:
    """A value in the URL that this session did not put there: a link, a reload, or a step back in the browser.

    The browser is a moment behind: a click may still carry the value that has just been replaced.
    """
    value = st.query_params.get(name)
    written, replaced = st.session_state.get(f"_url_{name}", (None, {}))
    if value == written or monotonic() - replaced.get(value, -STALE) < STALE:
        return None
    return value


def url_value(name: str) -> str | None:
    """A value in the URL, or what this session has just written there where the browser still carries the old one."""
    if name not in st.query_params or url_asks(name) is not None:
        return st.query_params.get(name)
    written, _ = st.session_state[f"_url_{name}"]
    write_url(name, written)
    return written


def write_url(name: str, value: str | None) -> None:
    """Keep a choice in the URL, so that a reload repeats it and a colleague can be sent it."""
    written, replaced = st.session_state.get(f"_url_{name}", (None, {}))
    now = monotonic()
    left = {written, st.query_params.get(name)} - {value}
    if left:
        replaced = {old: at for old, at in replaced.items() if now - at < STALE} | dict.fromkeys(left, now)
    st.session_state[f"_url_{name}"] = (value, replaced)
    if value is None:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != value:
        st.query_params[name] = value


def dead_link(name: str, options, what: str) -> None:
    """Say that a link names what is not there, such as `?given=nope`; before the widget that it would fill."""
    value = st.query_params.get(name)
    if value and value not in [str(one) for one in options]:
        told_missing(what, value)


def told_missing(what: str, value: str) -> None:
    """One line: the link asks for what this run does not have."""
    shown = value if len(value) <= 80 else value[:79] + "…"
    st.warning(
        f"There is no {what} **{md(shown)}** in this run: the link shows something else.", icon=":material/link_off:"
    )


def link(page: str, label: str, icon: str = "arrow_forward", params: dict | None = None) -> None:
    """A link to a page. The run stays in the URL, so that the link can be sent to a colleague."""
    target = st.session_state.get("_pages", {}).get(page)
    if target is not None:
        st.page_link(target, label=label, icon=f":material/{icon}:", query_params=_query(params))


def go(page: str, params: dict) -> None:
    """Open a page now, as `link` does when it is followed."""
    st.switch_page(st.session_state["_pages"][page], query_params=_query(params))


def _query(params: dict | None) -> dict[str, str] | None:
    run = {"run": st.session_state["run"]} if "run" in st.session_state else {}
    return run | {name: str(value) for name, value in (params or {}).items()} or None


# Where a listing begins: a turned page is shown from here, wherever the button that turned it stands.
_TOP = st.components.v2.component(
    "lossprint_top",
    html='<div class="top"></div>',
    css=":host { display: block } .top { scroll-margin-top: 70px }",
    js="""export default function ({ data, parentElement }) {
  const top = parentElement.querySelector(".top")
  if (top.lossprintPage !== undefined && top.lossprintPage !== data.page) top.scrollIntoView({ block: "start" })
  top.lossprintPage = data.page
}""",
)


def pages(count: int, key: str) -> int:
    """The buttons that turn the pages of a listing, where it has several, and the number of the one to show."""
    if count < 2:
        return 1
    with st.container(horizontal_alignment="center"):
        return min(max(1, st.pagination(count, key=key, bind="query-params")), count)


def begins(key: str, page: int) -> None:
    """The place where page number `page` of a listing begins: another number scrolls there."""
    _TOP(key=f"begins-{key}", data={"page": page}, height="content")


# Python can read cookies and not write them. This element does, and nothing else.
_COOKIE = st.components.v2.component(
    "lossprint_cookie",
    html="",
    css=":host { display: none }",
    js="""export default function ({ data }) {
  try {
    document.cookie = `${data.name}=${data.value}; path=/; max-age=31536000; samesite=lax`
  } catch (error) { void error }
}""",
)


def keep_cookie(name: str, value: str, key: str) -> None:
    """Let the browser keep a value for a year, for this site; nothing happens where cookies are off."""
    _COOKIE(key=key, data={"name": name, "value": quote(value)}, height="content")


# ---------------------------------------------------------------------------------------------- images


def tile(loaded: data.Loaded, sample: int, **more) -> Tile:
    """A gallery tile of a sample; `more` are fields of Tile. An image is described by its label, a text read out too.

    Where samples have no labels none is shown.
    """
    sample = int(sample)
    found = data.thumb(loaded, sample)
    if not loaded.labelled:
        more |= {"given": "", "suggested": ""}
    alt = named(loaded, sample)
    if more.get("suggested"):
        alt += f", suggested {more['suggested']}"
    if found and found.turns:
        alt += ": " + " ".join(f"{role}: {said}" if role else said for role, said in found.turns)
    src, tiny, said = (found.uri, found.tiny, found.turns) if found else (None, False, ())
    return Tile(sample, src, alt, tiny, turns=said, noun=loaded.noun, **more)


def named(loaded: data.Loaded, sample: int) -> str:
    """`sample 17, labeled coat`: what a screen reader is told of a sample first."""
    label = f", labeled {loaded.samples.at[int(sample), 'label']}" if loaded.labelled else ""
    return f"sample {int(sample)}{label}"


def tell_missing(tiles: list[Tile]) -> None:
    """One message where samples of the dataset cannot be read any more."""
    gone = sum(tile.src is None and not tile.turns for tile in tiles)
    if gone and not st.session_state.get("_told_missing"):
        st.session_state["_told_missing"] = True
        st.warning(
            f"{gone} of {plural(len(tiles), tiles[0].noun)} cannot be read from the dataset any more; "
            f"{'a placeholder stands in for it' if gone == 1 else 'placeholders stand in for them'}. "
            "Scores, loss prints and decisions still work.",
            icon=":material/broken_image:",
        )


def big_image(loaded: data.Loaded, sample: int, limit: int = 420) -> None:
    """The image of a sample as large as the column allows, up to `limit` pixels; tiny ones with crisp pixels.

    Of a text all of it, in a box that scrolls.
    """
    found = data.thumb(loaded, sample, 900)
    if found is not None and found.turns:
        reader(found.turns, alt=named(loaded, sample), left=found.left, tall=max(limit, 260), key=f"text-{limit}")
        return
    alt = html.escape(named(loaded, sample), quote=True)
    if found is None:
        st.html(
            f'<div role="img" aria-label="{alt}, {loaded.noun} not readable" style="max-width:{limit}px;aspect-ratio:1;'
            'display:grid;place-items:center;border:1px dashed #8a97a3;border-radius:8px;color:#7a8793">'
            f"{loaded.noun} not readable</div>"
        )
        return
    crisp = "image-rendering:pixelated;" if found.tiny else ""
    st.html(
        f'<img src="{found.uri}" alt="{alt}" style="{crisp}width:100%;max-width:{limit}px;max-height:70vh;'
        f'aspect-ratio:{found.width}/{found.height};object-fit:contain;border-radius:8px;display:block;background:#8882">'
    )


def labels_line(loaded: data.Loaded, sample: int, suggested: str | None = None) -> str:
    """Markdown: the given label, and the suggested one where it differs."""
    if not loaded.labelled:
        return ":gray-badge[no label]"
    given = loaded.samples.at[int(sample), "label"]
    line = f":blue-badge[given: {md(given)}]"
    if suggested and suggested != given:
        line += f" → :violet-badge[suggested: {md(suggested)}]"
    return line


def over_time(loaded: data.Loaded) -> pd.Series | None:
    """The label that the model over time gives each frame, by sample; None where nothing was looked at over time."""
    videos = data.videos(loaded)
    return None if videos is None else videos.frames.set_index("sample")["suggested_label"]


def suggestion(loaded: data.Loaded, sample: int) -> str | None:
    """The label that the model would have given, where it differs from the given one; of frames, that over time."""
    frames = data.derived(loaded, over_time)
    if frames is not None and sample in frames.index:
        label = frames.at[sample]
        return label if label != loaded.samples.at[sample, "label"] else None
    if sample not in loaded.scores.index:
        return None
    label = loaded.scores.at[sample, "suggested_label"] if "suggested_label" in loaded.scores else None
    return label if isinstance(label, str) and label != loaded.samples.at[sample, "label"] else None


# ---------------------------------------------------------------------------------------------- choosing a sample


def one_of(label: str, options, *, default, **how):
    """st.segmented_control with one option always chosen: an empty value in a link, `?key=`, would be none at all."""
    chosen = st.segmented_control(label, options, default=default, required=True, **how)
    return default if chosen is None else chosen


def per_page(options: tuple[int, ...], key: str, *, label: str = "Per page", on_change=None) -> int:
    """How many a page: a small box, its value in the URL under `key`; `label` is for screen readers."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
        st.caption("per page", width="content")
        return st.selectbox(
            label,
            options,
            key=key,
            label_visibility="collapsed",
            width=90,
            bind="query-params",
            on_change=on_change,
        )


def find_samples(samples: pd.DataFrame, query: str, top: int = 50) -> list[int]:
    """The samples that a query means: an id, a whole path, or a part of a path; at most `top`."""
    query = query.strip()
    if not query:
        return []
    if query.isascii() and query.isdigit() and len(query) < 19 and int(query) in samples.index:
        return [int(query)]
    exact = samples.index[samples["path"] == query]
    if len(exact):
        return [int(exact[0])]
    parts = samples["path"].str.contains(query, case=False, regex=False)
    return [int(sample) for sample in samples.index[parts.fillna(False)][:top]]


def choose(sample: int) -> None:
    """Choose a sample from a callback, as if its id had been typed into the search box."""
    st.session_state["sample"] = str(sample)


def choose_sample(loaded: data.Loaded, default: int | None, *, train_only: bool = False) -> int | None:
    """The search box for one sample, shared by the pages through the URL (`?sample=`).

    None where the run holds none, or a search finds none: that is said, and another one is no answer to it.
    """
    query = st.text_input(
        "Sample",
        key="sample",
        bind="query-params",
        placeholder="id or part of a path, such as 17",
        icon=":material/search:",
        help="A sample's id, its path, or a part of the path. It is in the URL: copy it to show a colleague.",
    )
    samples = loaded.samples
    if train_only:
        samples = samples[samples["split"] == "train"]
    if not (query or "").strip():
        return default
    found = find_samples(samples, query)
    if not found:
        kind = "training sample" if train_only else "sample"
        st.warning(f"No {kind} has “{md(query[:80])}” as its id or in its path.", icon=":material/search_off:")
        return None
    if len(found) == 1:
        return found[0]
    return st.selectbox(
        f"{plural(len(found), 'match', 'matches') if len(found) < 50 else 'First 50 matches'}",
        found,
        format_func=lambda sample: f"{sample} · {samples.at[sample, 'path']} · {samples.at[sample, 'label']}",
        key="match",
    )
