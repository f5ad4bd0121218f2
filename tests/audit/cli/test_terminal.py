"""What commands print holds nothing that a terminal would obey, whatever classes and files are called."""

import re
import shutil

import pytest
from helpers import make_run
from PIL import Image

from lossprint.audit.cli import main as cli

EVIL = "\x1b]0;owned\x07\x1b[2J\x9bA\u202egnp"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"), classes=("bag", EVIL, "shirt")).path.parent


COMMANDS = [
    "findings run",
    "more run --confusion EVIL shirt",
    "verify run",
    "score run --quiet",
    "reviews status run",
    "reviews assign run --reviewers ann,EVIL",
    "export findings run --out f.csv",
    "export cleaned run --out EVIL.csv",
    "export coreset run --method random --number 2 --at-least 1 --out c.csv",
    "export coreset run --method random --per-class 10 --one-of-duplicates --out k.csv",
    "report run --out EVIL.html",
    "runs list .",
    "runs rename run EVIL",
    "coreset apply k.csv --dataset data/labels.csv",
    "audit EVIL --out new",
]


def test_no_command_prints_what_a_terminal_obeys(home, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(shutil.copytree(home, tmp_path / "home"))
    statuses = []
    for command in COMMANDS:
        statuses.append(cli.main([word.replace("EVIL", EVIL) for word in command.split()]))
        told = capfd.readouterr()
        assert not OBEYED.search(told.out + told.err), command
        assert told.out or told.err
    assert statuses.count(0) >= 9


def test_links_that_are_followed_are_named_without_it(tmp_path, capfd):
    for at in range(2):
        (tmp_path / "data" / f"c{at}").mkdir(parents=True)
        Image.new("RGB", (8, 8), (at, 0, 0)).save(tmp_path / f"{at}.png")
        (tmp_path / "data" / f"c{at}" / f"{EVIL}.png").symlink_to(tmp_path / f"{at}.png")
    arguments = ["audit", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--follow-links", "--epochs", "1"]
    cli.main([*arguments, "--quiet", "--model", "small"])
    told = capfd.readouterr()
    assert "follows the link" in told.err and not OBEYED.search(told.out + told.err)
