"""The targets of benchmarks/fuzz.py on a few inputs each, the same ones every time, and that a target can fail."""

import logging
import time
import warnings
from random import Random

import hostile_files
import pytest
from fuzz_programs import PROGRAMS, assert_known
from fuzz_targets import READERS, TooLong, assert_one_line, attempt, limited, pictures, refused
from helpers import benchmark, environment
from mutation import mutated, mutated_json, odd_text

from lossprint.audit.datasets import dataset
from lossprint.audit.datasets.readers import manifests
from lossprint.audit.types import LossprintError

TARGETS = {one.name: one for one in (*READERS, *PROGRAMS)}


@pytest.fixture(autouse=True)
def environment_as_it_was():
    with environment():
        yield


@pytest.mark.parametrize("part", [0.1, pytest.param(1, marks=pytest.mark.proof)], ids=["few", "many"])
@pytest.mark.parametrize("name", TARGETS)
def test_odd_inputs_are_refused_in_one_line(name, part, tmp_path, capfd):
    target = TARGETS[name]
    check, done, number = target.make(tmp_path / "t"), 0, 0
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            while done < part * target.short:
                try:
                    done += attempt(target, check, Random(f"{name}:0:{number}"))
                except (Exception, TooLong) as error:
                    again = f"python benchmarks/fuzz.py --only {name} --first {number} --inputs 1"
                    pytest.fail(f"input {number} ({again}): {type(error).__name__}: {error}")
                number += 1
    finally:
        logging.disable(logging.NOTSET)


def test_a_reader_that_breaks_is_seen(tmp_path, monkeypatch):
    """Each kind of failure, planted."""
    check = TARGETS["manifest-csv"].make(tmp_path / "a")
    for number in range(20):
        check(Random(number))
    monkeypatch.setattr(manifests, "noted_rows", lambda path: [][1])
    with pytest.raises(IndexError):
        check(Random(1))
    monkeypatch.setattr(manifests, "noted_rows", lambda path: raised(LossprintError("")))
    with pytest.raises(AssertionError, match="without a word"):
        check(Random(1))
    check = pictures(tmp_path / "b")
    monkeypatch.setattr(dataset, "reason", lambda error: "two\nlines")
    with pytest.raises(AssertionError, match="more than one line"):
        check(Random(3))
    with pytest.raises(TooLong), limited(0.05):
        spin = time.process_time()
        while time.process_time() - spin < 5:
            pass
    with pytest.raises(AssertionError):
        assert_known(3, "")
    with pytest.raises(AssertionError):
        assert_known(1, "Traceback (most recent call last)")


def test_the_benchmark_counts_what_is_let_through(monkeypatch, capsys):
    def bad(folder) -> None:
        assert folder.is_dir() and False, "PLANTED"

    monkeypatch.setattr(hostile_files, "KINDS", {"some": {"good": lambda folder: None, "bad": bad}, "none": {}})
    assert benchmark("fuzz").main(["--only", "hostile"]) == 1
    told = capsys.readouterr()
    assert "| some | 2 | 1 |\n| none | 0 | 0 |" in told.out and "some, bad: AssertionError: PLANTED" in told.err
    monkeypatch.setattr(hostile_files, "KINDS", {"some": {"good": lambda folder: None}})
    assert benchmark("fuzz").main(["--only", "hostile"]) == 0


def raised(error: Exception):
    raise error


def test_the_same_number_gives_the_same_input():
    for make in (lambda rng: mutated(rng, b"abc" * 50), lambda rng: mutated_json(rng, b'{"a": [1, "b"]}'), odd_text):
        assert [make(Random(n)) for n in range(50)] == [make(Random(n)) for n in range(50)]
        assert len({make(Random(n)) for n in range(200)}) > 30


def test_a_fault_is_one_line_whatever_is_in_it():
    assert str(LossprintError("a\nb\x1b[31m\u202e\u2028\ud800c é")) == "a\\nb\\x1b[31m\\u202e\\u2028\\ud800c é"
    assert len(str(LossprintError("x" * 10**6))) < 3100
    again = LossprintError(f"{LossprintError('tab	')} (in x)")
    assert str(again) == "tab\\t (in x)"
    assert refused(lambda: raised(again)) and not refused(lambda: None)
    assert_one_line(again)
