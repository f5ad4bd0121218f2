"""The lowest allowed versions: written as constraints, and none below what docs/dependencies.md says of advisories."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import lowest
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_each_dependency_has_its_lowest_version_as_a_constraint():
    done = subprocess.run([sys.executable, lowest.__file__], capture_output=True, text=True, check=True)
    constraints = {one.name: one for one in map(Requirement, done.stdout.split("\n")[:-1])}
    listed = [*map(Requirement, chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()))]
    for requirement in listed:
        constraint = constraints[requirement.name.lower()]
        (one,) = constraint.specifier
        assert one.operator == "==" and requirement.specifier.contains(one.version), requirement
        assert not constraint.extras and constraint.url is None
    assert "/" not in done.stdout, "a constraint names no host"
    assert len(constraints) == len({one.name.lower() for one in listed})


@pytest.mark.parametrize(
    ("dependencies", "extras", "expected"),
    [
        (["a>=1.9", "B_c[x,y]>=2 ; python_version>='3.9'"], {}, {"a": "1.9", "b-c": "2"}),
        (["a>=1.9"], {"one": ["A>=1.10"], "two": ["a>=1.2"]}, {"a": "1.10"}),
        (["a<4,>=3.0", "d !=2.6.2, >= 2.6"], {}, {"a": "3.0", "d": "2.6"}),
        (["fsspec>=2026.6"], {"x": ["fsspec>=2026.6.0"]}, {"fsspec": "2026.6"}),
    ],
)
def test_the_highest_floor_of_a_name_counts(dependencies, extras, expected):
    assert lowest.floors({"dependencies": dependencies, "optional-dependencies": extras}) == expected


@pytest.mark.parametrize("requirement", ["a", "a<3", "a==2.1"])
def test_a_dependency_without_a_floor_is_refused(requirement):
    with pytest.raises(ValueError, match="expected a lowest version") as caught:
        lowest.floors({"dependencies": [requirement]})
    assert "\n" not in str(caught.value)


def test_the_floors_are_those_that_the_advisories_ask_for():
    """What docs/dependencies.md says of versions is what pyproject.toml asks for; torch's reads checkpoints safely."""
    floors = lowest.floors(PROJECT)
    page = (ROOT / "docs" / "dependencies.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| ([\d., ]+) \|", page.split("\n## Why not older")[1].split("\n## ")[0], re.M)
    told = {}
    for names, versions in rows:
        names, versions = names.lower().split(", "), versions.split(", ")
        told |= dict(zip(names, versions if len(versions) > 1 else versions * len(names), strict=True))
    assert len(told) >= 18
    assert {name: floors[name] for name in told} == told
    for name, safe in {
        "torch": "2.10",
        "pillow": "13",
        "authlib": "1.9",
        "fsspec": "2026.6",
        "aiohttp": "3.14.4",
    }.items():
        assert Version(floors[name]) >= Version(safe), name
