"""A run whose network learnt little in the app: each page that shows label findings warns, in the same words."""

import pytest
from app_pages import assert_whole, open_page, said

from lossprint.audit.findings import doubts
from lossprint.audit.review import wrong_labels
from tests.support.learning_runs import learning_run


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weak")
    run, _ = learning_run(folder / "weak", [6] * 10, [2] * 10, knows=0.3, steady=0.6, sure=6)
    return folder, run


@pytest.mark.parametrize("name", ["overview", "labels", "classes", "map", "review", "stop"])
def test_the_warning_stands_on_each_page(weak, monkeypatch, name):
    folder, run = weak
    (sentence, *_) = doubts.sentences(run)
    app = open_page(name, folder, monkeypatch)
    assert_whole(app)
    words = said(app).replace("\\", "")
    assert "The network learnt little" in words and sentence[:60] in words
    span = wrong_labels.span(wrong_labels.wrong_labels(run))
    if name in ("overview", "labels", "classes", "stop"):
        assert span in words
