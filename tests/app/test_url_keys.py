"""No two pages keep different things under one name: what is set on one page would be found set on the other.

After a part of a page was drawn anew by itself (a page of a gallery was turned), Streamlit keeps the state of all that
is on it when another page is opened, and a control there of the same name starts with it.
"""

import asyncio
import importlib
import re
from pathlib import Path

from browser import flag_many, serving
from helpers import in_a_thread, make_run

from lossprint.app.main import PAGES
from lossprint.audit.review.reviews import open_reviews

SHARED = {"sample"}  # the sample that is looked at, on purpose


def test_no_control_of_a_page_is_one_of_another_page(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent.parent / "benchmarks"))
    tabs = importlib.import_module("load_tab")
    run = make_run(tmp_path, kind="folder", train=30, held_out=6)
    flag_many(run)
    with open_reviews(run) as kept:
        for sample in (20, 21, 5):
            for who, decision in (("ann", "keep"), ("bob", "exclude"), ("cy", "unsure")):
                kind = "outlier" if sample == 5 else "label_error"
                kept.add(finding=f"{kind}:{sample}", sample=sample, decision=decision, reviewer=who)
    found: dict[str, set[str]] = {}
    take = tabs.Tab.take

    def noted(tab, delta) -> None:
        take(tab, delta)
        for key in re.findall(r'query_param_key: "([^"]+)"', str(delta)):
            found.setdefault(key, set()).add(tab.page)

    async def walk(url: str) -> dict[str, dict[str, str]]:
        tab, after = tabs.Tab(url, "Ann"), {}
        await tab.arrive("labels", {})
        for name in [name for name, *_ in PAGES if name not in ("overview", "labels", "sequences")]:
            if name in ("coreset", "duplicates", "map", "prints"):
                await tab.visit("labels", {})
                await tab.set_page(tab.places["page"], "page", 2)
            await tab.visit(name, {})
            after[name] = dict(tab.query)
        await tab.leave()
        assert tab.faults == []
        return after

    monkeypatch.setattr(tabs.Tab, "take", noted)
    with serving(run.path) as url:
        after = in_a_thread(asyncio.run, walk(url))
    assert {name for name, pages in found.items() if len(pages) > 1} <= SHARED, found
    assert len(found) > 40 and {"least", "p_sort", "m_page", "d_kind", "dstate"} <= set(found)
    own = {"run", "finding", "sample"}  # what pages put there by themselves
    assert {name: set(query) - own for name, query in after.items()} == {name: set() for name in after}
