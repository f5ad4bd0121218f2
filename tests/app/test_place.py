"""The question where the images of a run from elsewhere lie: on every page, until an owner allows it."""

import json
import re

import pytest
from app_pages import open_page, said
from helpers import make_run

from lossprint.app.access import roles
from lossprint.audit.runs import keys, places
from lossprint.audit.runs.open import open_run

ODD = "/data/a_b*c/[here](http://evil.invalid)"


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """A run that somebody else made, whose images lie where it says; nobody here has a word of it yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(places, "_named", set())
    run = make_run(tmp_path)

    def at(**dataset):
        manifest = json.loads((run.path / "run.json").read_text())
        manifest["dataset"] |= dataset
        manifest["place"] = "0" * 64
        (run.path / "run.json").write_text(json.dumps(manifest))
        return run

    return at


def asked(app) -> list:
    return [one for one in app.button if one.key == "confirm-place"]


@pytest.mark.parametrize("page", ["overview", "labels", "sample"])
def test_an_owner_allows_it_once_and_is_not_asked_again(page, strange, monkeypatch):
    run = strange()
    app = open_page(page, run.path, monkeypatch)
    (button,) = asked(app)
    shown = re.sub(r"\\(.)", r"\1", said(app)).replace("\u2060", "")  # as it reads
    assert run.manifest["dataset"]["source"] in shown and not button.disabled
    assert not places.believed(open_run(run.path))
    app = button.click().run()
    assert not asked(app) and not app.exception
    assert places.believed(open_run(run.path)) and len(keys.confirmed()) == 1
    assert not asked(open_page("duplicates", run.path, monkeypatch))


def test_the_place_is_shown_as_text(strange, monkeypatch):
    app = open_page("overview", strange(source=ODD).path, monkeypatch)
    (warning,) = [one.value for one in app.warning if "names" in one.value]
    assert "](http" not in warning and "a_b*c" not in warning


@pytest.mark.parametrize("source", ["file:///etc", "memory://x", "ftp://evil.invalid/x", "zip://a::http://evil"])
def test_what_only_the_command_line_may_name_is_refused_in_one_line(source, strange, monkeypatch):
    run = strange(source=source)
    app = open_page("overview", run.path, monkeypatch)
    app = asked(app)[0].click().run()
    assert "Nothing was allowed" in "\n".join(one.value for one in [*app.error, *app.warning])
    assert asked(app) and not places.believed(open_run(run.path)) and not keys.confirmed()


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_only_owners_may_allow_it(role, strange, monkeypatch):
    run = strange()
    monkeypatch.setattr(roles, "visitor", lambda *_: roles.Visitor("vic@lab.example", "Vic", role))
    app = open_page("overview", run.path, monkeypatch)
    (button,) = asked(app)
    assert button.disabled
    button.proto.disabled = False  # a browser may send the event of any button
    app = button.click().run()
    assert asked(app) and not places.believed(open_run(run.path)) and not keys.confirmed()
