"""The search at the top: an id, a file name or a part of a path; several are listed, none is said and nothing else."""

import pytest
from app_pages import assert_whole, open_page, said
from helpers import make_run

from lossprint.app import data, search


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, kind="folder")


def test_an_id_a_path_and_a_file_name_mean_one_sample(run):
    loaded = data.load(run.path)
    paths = loaded.samples["path"]
    for sample in (0, 7, int(paths.index[-1])):
        assert search.hits(loaded, str(sample)).tolist() == [sample]
        assert search.hits(loaded, f" {paths[sample]} ").tolist() == [sample]
    names = paths.str.rsplit("/").str[-1]
    alone = names[~names.duplicated(keep=False)]
    for sample, name in list(alone.items())[:3]:
        assert search.hits(loaded, name).tolist() == [sample]
    twice = names[names.duplicated(keep=False)]
    if len(twice):
        assert set(twice.index[twice == twice.iloc[0]]) <= set(search.hits(loaded, twice.iloc[0]))
    assert search.hits(loaded, ".png").tolist() == paths.index.tolist()
    for words in ("no such file", "9" * 30, "-1", "[", "*.png"):
        assert not len(search.hits(loaded, words))


@pytest.mark.parametrize("name", ["overview", "duplicates"])
def test_nothing_found_is_said_and_nothing_else_is_shown(run, monkeypatch, name):
    app = open_page(name, run.path, monkeypatch)
    app.text_input(key="find").set_value("<b>nowhere").run()
    assert_whole(app)
    assert "Nothing found" in said(app) and not app.title
    app.button[-1].click().run()
    assert_whole(app)
    assert app.title and "Nothing found" not in said(app)


def test_one_hit_is_opened_where_one_is_and_several_are_listed_in_explore(run, monkeypatch):
    app = open_page("help", run.path, monkeypatch)
    app.text_input(key="find").set_value("7").run()
    assert_whole(app)
    assert app.title[0].value == "Help" and list(app.query_params["open"]) == ["7"]
    app.text_input(key="find").set_value("png").run()
    assert_whole(app)
    assert app.title[0].value == "Explore"
