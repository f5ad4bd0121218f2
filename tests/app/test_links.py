"""Links from anywhere, over Streamlit's own protocol to a real server: whatever they ask for, the page is there."""

import pytest
from browser import flag_many, serving
from helpers import make_run
from oidc import Cookies, Raw

from lossprint.app.main import PAGES

TITLES = {name: title for name, title, *_ in PAGES}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("links")
    run = make_run(folder / "one", classes=("coat", "shirt"), train=30, held_out=6)
    flag_many(run)
    (folder / "runs").mkdir()
    run.path.rename(folder / "runs" / "plain")
    with serving(folder / "runs") as url:
        yield url


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("labels", "given=nothing&severity=7&page=99&per=1&open=abc&state=x&size=q"),
        ("labels", "open=99999"),
        ("labels", "run=none&given=coat"),
        ("classes", "run=plain&class=none"),
        ("compare", "run=plain&other=none&score=x&set=y&cpage=99"),
        ("review", "run=plain&finding=nothing&queue=x"),
        *(
            (page, f"run=plain&{query}")
            for page in ("sample", "pairs")
            for query in ("sample=../../etc", "sample=train_00", "sample=-5&x=nope&y=csl")
        ),
    ],
)
def test_links_from_anywhere_do_no_harm(server, page, query):
    with Raw(Cookies(server), page=page, query=query) as raw:
        raw.run()
    assert TITLES[page] in raw.seen
    assert "could not be shown" not in raw.seen and "exception {" not in raw.seen


def test_what_fails_would_be_seen(server):
    with Raw(Cookies(server), page="labels", query="run=plain") as raw:
        raw.run()
        raw.trigger("gallery-label_error", act={"action": "none", "ids": ["none"]})
    assert "could not be shown" in raw.seen
