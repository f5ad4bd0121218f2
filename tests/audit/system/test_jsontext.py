"""JSON from outside that nests deeper than Python reads is refused like any other that is none. Red before in
checksums, in what is kept of a batch and in the records of exports, which ended in a RecursionError."""

import re
from pathlib import Path

import pytest
from helpers import make_run

from lossprint.audit.cli.main import main
from lossprint.audit.runs import beside
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import LossprintError

ROOT = Path(__file__).parent.parent.parent.parent
DEEP = "[" * 200_000


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, DEEP.encode(), "{", b"\xff"])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parsed(text)


def test_all_json_is_read_there():
    files = [one for room in ("audit", "app", "lossprint", "scoring") for one in (ROOT / room).rglob("*.py")]
    calls = [one.name for one in files if re.search(r"\bjson\.loads?\(", one.read_text(encoding="utf-8"))]
    assert len(files) > 200 and calls == ["jsontext.py"]


def test_files_of_a_run_and_records_of_exports(tmp_path, capsys):
    run = make_run(tmp_path)
    coreset = tmp_path / "c.csv"
    assert (
        main(["export", "coreset", str(run.path), "--method", "random", "--fraction", ".3", "--out", str(coreset)]) == 0
    )
    coreset.with_name("c.csv.json").write_text('{\n "lossprint": ' + DEEP)
    (run.path / "checksums.json").write_text(DEEP)
    capsys.readouterr()
    for command in (
        ["verify", run.path],
        ["score", run.path],
        ["coreset", "apply", coreset, "--dataset", tmp_path / "data"],
        ["export", "coreset", run.path, "--like", coreset, "--out", tmp_path / "d.csv"],
    ):
        assert main([str(one) for one in command]) == 2
        told = capsys.readouterr()
        assert "nests too deep" in told.out + told.err
    (run.path / "checks").mkdir()
    (run.path / "checks" / "new.parquet").write_bytes((run.path / "findings.parquet").read_bytes())
    (run.path / "checks" / "new.json").write_text(DEEP)
    with pytest.raises(LossprintError, match="nests too deep"):
        beside.check(run, "new")
