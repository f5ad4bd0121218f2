"""Rows that a stranger wrote into a run's database: no value of another kind, no text that unpacks to a bomb.

All were red before: a traceback, or an array of 80 GB.
"""

import pytest
from helpers import make_run
from test_strange_database import change

from lossprint.audit.cli.main import main
from lossprint.audit.review.marks import open_marks
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.system.memory import peak
from lossprint.audit.types import LossprintError

STRANGE = {
    "a sample that is a text": "UPDATE reviews SET sample = 'abc'",
    "a sample between two": "UPDATE reviews SET sample = 1.5",
    "seconds that are a text": "UPDATE reviews SET seconds = 'long'",
    "a label to nothing": "UPDATE reviews SET decision = 'relabel'",
    "a label of bytes": "UPDATE reviews SET decision = 'relabel', new_label = x'ff00'",
    "a decision that is none": "UPDATE reviews SET decision = 'zap'",
    "a reviewer of bytes": "UPDATE reviews SET reviewer = x'ff'",
    "an undo of a text": "UPDATE reviews SET undoes = 'x'",
    "an assignment of bytes": "UPDATE assignments SET finding = x'00'",
    "a tag of all samples there could be": "UPDATE marks SET content = '0-9999999999' WHERE kind = 'tag'",
    "the same in parts": "UPDATE marks SET content = replace(hex(zeroblob(99)), '00', '0-99.') || 1 WHERE kind = 'tag'",
    "a queue of them": "UPDATE marks SET content = '0-9999999999999999999999' WHERE kind = 'queue'",
    "a tag of no numbers": "UPDATE marks SET content = 'abc' WHERE kind = 'tag'",
    "a tag of bytes": "UPDATE marks SET content = x'00ff' WHERE kind = 'tag'",
    "a range that ends first": "UPDATE marks SET content = '5-2.7' WHERE kind = 'tag'",
    "a view that nests": "UPDATE marks SET content = replace(hex(zeroblob(99999)), '00', '[') WHERE kind = 'view'",
    "a view that is a list": "UPDATE marks SET content = '[1]' WHERE kind = 'view'",
    "a kind that is none": "UPDATE marks SET kind = 'x'",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made):
    (made.path / "reviews.db").unlink(missing_ok=True)
    with open_reviews(made) as kept:
        kept.add(finding="label_error:1", sample=1, decision="keep", reviewer="ann", seconds=2)
        kept.assign([("label_error:1", "ann")])
    with open_marks(made) as marks:
        marks.tag("blurry", [1, 2], "ann")
        marks.keep_queue("first", [4, 3], "ann")
        marks.keep_view("mine", {"page": "explore"}, "ann")
    return made


def read(run) -> None:
    with open_reviews(run) as kept, open_marks(run) as marks:
        kept.history()
        kept.assignments()
        marks.table()
        [one.samples for one in marks.state().queues.values()]
        [one.asked for one in marks.state().views.values()]


@pytest.mark.parametrize("name", STRANGE)
def test_a_row_that_this_program_never_writes_is_refused_in_one_line(run, name):
    read(run)
    change(run, STRANGE[name])
    before = peak()
    with pytest.raises(LossprintError, match="expected decisions as Lossprint writes them, found") as caught:
        read(run)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert peak() - before < 50 << 20


def test_commands_say_it_and_write_nothing(run, tmp_path, capsys):
    change(run, STRANGE["a sample that is a text"], STRANGE["a tag of all samples there could be"])
    for command in (["tags", run.path], ["export", "cleaned", run.path, "--out", tmp_path / "cleaned.csv"]):
        assert main([str(one) for one in command]) == 2
        assert "expected decisions as Lossprint writes them" in capsys.readouterr().err
    assert not (tmp_path / "cleaned.csv").exists()
