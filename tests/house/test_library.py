"""The names that are for users: each is there, lazy, documented; they work editable, from a checkout and installed."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import lossprint

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", lossprint.__all__)
def test_each_name_is_there(name):
    assert getattr(lossprint, name) is not None and name in dir(lossprint)


def test_a_wrong_name_is_answered_by_those_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'open_runs'.*open_run"):
        lossprint.open_runs  # noqa: B018


def test_audit_stays_the_package_of_the_workflow():
    from lossprint.audit import LossprintError, Recorder

    assert lossprint.audit.Recorder is Recorder is lossprint.Recorder
    assert lossprint.LossprintError is LossprintError


def python(code: str, cwd: Path, *options: str) -> str:
    done = subprocess.run([sys.executable, *options, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_alone_costs_nothing():
    heavy = python("import sys, lossprint; print({'numpy', 'pandas', 'torch'} & set(sys.modules))", ROOT)
    assert heavy == "set()"


def test_a_bare_checkout_finds_its_own_rooms():
    """Where another version is installed, or none: not a mixture of the two."""
    code = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in repr(finder)]
import lossprint.scoring.ranks
print(lossprint.scoring.ranks.__file__)
"""
    assert python(code, ROOT) == str(ROOT / "scoring" / "ranks.py")


def test_installed_rooms_lie_in_the_package(tmp_path):
    """As a wheel lays them out; a folder audit/ beside it is somebody else's."""
    site = tmp_path / "site"
    (site / "lossprint").mkdir(parents=True)
    for name in ("__init__.py", "_run.py", "_dataset.py", "_cleaned.py"):
        (site / "lossprint" / name).symlink_to(ROOT / "lossprint" / name)
    for room in ("audit", "scoring", "app"):
        (site / "lossprint" / room).symlink_to(ROOT / room)
        (site / room).mkdir()
    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in repr(finder)]
import lossprint
print(len(lossprint.__path__), lossprint.audit.__file__, lossprint.open_run.__module__)
"""
    assert python(code, tmp_path) == f"1 {site / 'lossprint' / 'audit' / '__init__.py'} lossprint._run"


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("lightning_callback", "recording.lightning", ("LossprintCallback",)),
        ("transformers_callback", "recording.transformers", ("LossprintCallback",)),
        ("per_sample", "recording.per_sample", ("token_losses", "label_losses", "squared_errors")),
    ],
)
def test_what_the_first_releases_readme_imported_is_still_there(old, new, names):
    before, now = (import_module(f"lossprint.audit.{name}") for name in (old, new))
    assert all(getattr(before, name) is getattr(now, name) for name in names)
