"""Markup in every text of a run, on all pages and in the report: nothing of it runs, is loaded or drawn."""

import json
import re
from urllib.parse import quote, urlsplit

import pandas as pd
import pytest
import text_runs
from browser import MARKS, come_into_view, eventually, flag_many, follow, idle, serving, visit, watched
from helpers import make_run

from lossprint.app.main import PAGES
from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.export.applied import applied
from lossprint.audit.report.write import write_report
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import places
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run

pytestmark = MARKS
SCRIPT = "<script>window.__planted='script'</script>"
IMAGE = "<img src=x onerror=\"window.__planted='onerror'\">"
LINK = "[planted](javascript:window.__planted='link')"
REMOTE = "![planted](http://evil.invalid/i.png) <img src=http://evil.invalid/j.png>"
DRAWN = "$\\frac{planted}{x}$ :material/toys_fan: :skull: :red[planted] :red-badge[planted] **planted** `planted`"
STYLE = "<style>body{background:url(http://evil.invalid/k)}</style><svg onload=\"window.__planted='svg'\">"
ALL = " ".join((SCRIPT, IMAGE, LINK, REMOTE, DRAWN, STYLE))
NAME = "<img src=x onerror=window.__planted=1> $x$ :skull: [a](javascript:alert(1))"  # of a folder: without a slash
TRACES = {
    "a link that runs": "a[href^='javascript' i], area[href^='javascript' i], form[action^='javascript' i]",
    "a handler": "[onerror], [onload], [onclick]",
    "something of another host": "[src*='//evil.invalid'], [href*='//evil.invalid'], [srcset*='//evil.invalid']",
    "an image of nothing": "img[src='x']",
    "a formula": ".katex:has-text('planted')",
    "a bold word": "strong:text-is('planted'), b:text-is('planted')",
    "code": "code:text-is('planted')",
    "an icon": "[data-testid='stIconMaterial']:text-is('toys_fan')",
}

SHOWING_TEXTS = ("overview", "labels", "pairs", "sample", "review", "compare")  # the others show labels and numbers


def plant(path, name: str) -> Run:
    """A run whose labels, paths, sequences, reviewers, comments, notes and saved subsets are markup."""
    made = make_run(
        path, classes=(f"{SCRIPT}{LINK}", f"{IMAGE}{REMOTE}", f"{STYLE}{DRAWN}"), train=14, held_out=4, frames=True
    )
    flag_many(made)
    samples, data = made.samples(), path / "data"
    for row in range(0, len(samples), 2):
        known = samples.loc[row, "path"]
        folder, _, file = known.rpartition("/")
        new = f"{folder}/{NAME} {file}"
        (data / known).rename(data / new)
        samples.loc[row, "path"] = new
    samples["sequence"] = samples["sequence"] + ALL
    made.write_samples(samples, pd.DataFrame({"path": [ALL], "reason": [ALL]}, dtype="string"))
    scores = made.scores()
    made.write_scores(scores.assign(path=samples.set_index("sample").loc[scores["sample"], "path"].to_numpy()))
    about = json.loads((made.path / "run.json").read_text())
    about["dataset"] |= {"notes": [ALL], "fingerprint": ALL, "source": str(data / "labels.csv")}
    about |= {"lossprint": ALL, "recording": ALL, "created": about["created"]}
    about["asked"] |= {"model": ALL}
    (made.path / "run.json").write_text(json.dumps(about))
    run = open_run(made.path)
    places.confirm(run)
    kept = open_reviews(run)
    for who in (f"ann {IMAGE}"[:60], f"bob {LINK}"[:60]):
        for sample in range(10, 22):
            other = [label for label in run.classes if label != samples.loc[sample, "label"]]
            said = {"new_label": other[who.startswith("bob")], "reviewer": who, "comment": ALL}
            kept.add(finding=f"label_error:{sample}", sample=sample, decision="relabel", **said)
        kept.add(finding="outlier:5", sample=5, decision="exclude", reviewer=who, comment=ALL)
    kept.assign([(f"label_error:{sample}", f"ann {IMAGE}"[:60]) for sample in range(22, 30)])
    ask = coresets.Ask("random", fraction=0.5)
    coresets.keep(run, coresets.source_of(applied(run), methods=("random",)), ask, "subset x")
    run.path.rename(path.parent / "runs" / name)
    return open_run(path.parent / "runs" / name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "runs").mkdir()
    plant(folder / "one", NAME)
    path, _ = text_runs.labelled(folder)
    text_runs.put_before(path, ALL)
    text_runs.record_labelled(path, folder / "runs" / "texts")
    return folder / "runs"


@pytest.fixture(scope="module")
def base(runs):
    with serving(runs) as url:
        yield url


@pytest.fixture
def guarded(chromium):
    """A page on which a dialog, a request to another host and a console error fail the test."""
    with watched(chromium) as page:
        asked, dialogs = [], []
        page.context.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        yield page
        hosts = {urlsplit(url).hostname for url in asked if urlsplit(url).scheme not in ("data", "blob", "file")}
        assert asked and hosts <= {"127.0.0.1"} and not dialogs, (hosts, dialogs)


def unharmed(page, where: str) -> None:
    assert page.evaluate("window.__planted") is None, where
    for what, selector in TRACES.items():
        found = page.locator(selector)
        assert found.count() == 0, (where, what, found.first.evaluate("one => one.outerHTML")[:300])
    assert "\U0001f480" not in page.inner_text("body"), (where, "an emoji")
    assert page.evaluate("getComputedStyle(document.body).backgroundImage") == "none", where


@pytest.mark.parametrize(
    ("run", "names"),
    [
        pytest.param(NAME, SHOWING_TEXTS, id="images"),
        pytest.param("texts", SHOWING_TEXTS, id="texts"),
        pytest.param(NAME, [name for name, *_ in PAGES], id="all", marks=pytest.mark.proof),
    ],
)
def test_no_page_draws_or_runs_what_a_text_says(guarded, base, run, names):
    page, seen = guarded, ""
    for name, title, *_ in PAGES:
        if name not in names:
            continue
        if name in ("overview", "pairs", "sample"):
            visit(page, f"{base}/{name.replace('overview', '')}?run={quote(run)}&sample=10", title)
        else:
            follow(page, title)
        come_into_view(page)
        unharmed(page, title)
        seen += page.inner_text("body")
    assert "window.__planted" in seen and ("evil.invalid" in seen or run == "texts")


def test_neither_does_the_drawer_nor_a_question(guarded, base):
    page, run = guarded, quote(NAME)
    for sample in (10, 5, 3):
        visit(page, f"{base}/labels?run={run}&open={sample}", "Wrong labels")
        page.get_by_role("dialog").get_by_text(re.compile(rf"^Sample {sample} ·")).wait_for()
        idle(page)
        unharmed(page, f"drawer of {sample}")
    visit(page, f"{base}/review?run={run}&finding=label_error:25", "Review")
    unharmed(page, "question")
    visit(page, f"{base}/compare?run={run}&other=texts", "Compare runs")
    unharmed(page, "comparison")
    visit(
        page,
        f"{base}/labels?run={quote(ALL)}&sample={quote(ALL)}&given={quote(ALL)}&finding={quote(ALL)}",
        "Wrong labels",
    )
    page.get_by_text("There is no run").wait_for()
    unharmed(page, "a link that asks for markup")


def test_neither_does_the_report(chromium, runs, tmp_path):
    written = write_report(open_run(runs / NAME), tmp_path / "report.html")
    with watched(chromium) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(written.as_uri())
        page.get_by_role("heading", name="In short").wait_for()
        unharmed(page, "report")
        assert "window.__planted" in page.inner_text("body")
        assert all(one == written.as_uri() or one.startswith("data:image/") for one in asked), asked


def test_what_runs_or_is_drawn_would_be_seen(chromium, base):
    """Each trace, planted for real: the tests above can fail."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{base}/help")
    page.get_by_role("heading", name="Help", exact=True).wait_for()
    planted = (
        IMAGE,
        '<a href="JavaScript:x">y</a>',
        "<i onclick=x></i>",
        "<img src=http://evil.invalid/x>",
        "<i class=katex>planted</i>",
    )
    for text in (*planted, "<strong>planted</strong>", "<code>planted</code>", "\U0001f480"):
        page.evaluate(
            "text => { document.body.insertAdjacentHTML('beforeend', `<div id=planted>${text}</div>`) }", text
        )
        with pytest.raises(AssertionError):
            unharmed(page, text)
        page.evaluate("document.querySelectorAll('#planted').forEach(one => one.remove()); delete window.__planted")
    page.evaluate(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(IMAGE)})")
    eventually(lambda: page.evaluate("window.__planted") == "onerror")
    context.close()
