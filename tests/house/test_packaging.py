"""The wheel holds all that the program needs, and runs from it outside the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built as `python -m build` does, from a copy of the tracked and new files: the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    assert listed.returncode == 0, listed.stderr
    source = folder / "source"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next((folder / "dist").glob("*.whl"))


def of_the_product() -> set[str]:
    """All tracked files of the product's folders, and what else the program reads, as a wheel names them."""
    listed = subprocess.run(
        ["git", "ls-files", "app", "audit", "lossprint", "scoring"], cwd=ROOT, capture_output=True, text=True
    )
    files = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    assert len(files) > 150
    files |= {f"assets/demo/{name}" for name in ("labels.csv", "truth.csv", "LICENSE.fashion-mnist")}
    files |= {str(file.relative_to(ROOT)) for file in (ROOT / "assets" / "demo" / "images").iterdir()}
    return {name if name.startswith("lossprint/") else f"lossprint/{name}" for name in files}


@pytest.mark.filterwarnings("ignore")  # setuptools on folders of data that could be packages
def test_a_wheel_will_hold_code_demo_and_app(monkeypatch):
    """What setuptools says that it would copy, without a wheel being built."""
    from setuptools import Distribution

    monkeypatch.chdir(ROOT)
    built = Distribution({"script_name": "-c"})
    built.parse_config_files()
    command = built.get_command_obj("build_py")
    command.ensure_finalized()
    command.editable_mode = False
    names = {Path(name).relative_to(command.build_lib).as_posix() for name in command.get_outputs(include_bytecode=0)}
    assert of_the_product() <= names, sorted(of_the_product() - names)
    assert all(name.startswith("lossprint/") for name in names)


@pytest.mark.proof
def test_the_wheel_holds_code_demo_and_app(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert of_the_product() <= set(names), sorted(of_the_product() - set(names))
    assert sum(name.startswith("lossprint/assets/demo/images/") for name in names) == 5000
    held = zipfile.ZipFile(wheel).read("lossprint/assets/demo/labels.csv")
    assert held == (ROOT / "assets" / "demo" / "labels.csv").read_bytes()
    assert all(name.startswith("lossprint") for name in names), "nothing of ours lies beside the package"


@pytest.mark.proof
def test_it_runs_outside_the_checkout(wheel, tmp_path):
    """Unpacked before the editable install on the path, as if installed; a tenth of the demo is audited from it."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    labels = site / "lossprint" / "assets" / "demo" / "labels.csv"
    table = pd.read_csv(labels, dtype=str, keep_default_na=False)
    table = table.groupby(["label", "split"]).head(40)
    table.to_csv(labels, index=False)
    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
sys.meta_path = [finder for finder in sys.meta_path if "__editable__" not in repr(finder)]
import lossprint.audit.workflow.demo as demo, lossprint.app.serve
from lossprint.audit.training import loading
assert demo.__file__.startswith({str(site)!r}), demo.__file__
loading.DEFAULTS |= {{"epochs": 1, "curvature_checkpoints": 0}}
run = demo.audit_demo("run", quiet=True)
assert run.manifest["dataset"]["root"].startswith({str(site)!r})
assert len(run.scores()) == {(table["split"] == "train").sum()} == 400
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_version_is_one_everywhere():
    import re
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_every_direct_dependency_is_in_the_table():
    """With its licence and why it is there; and nothing is that is not a dependency any more."""
    import re
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "dependencies.md").read_text()

    def names(listed: list[str]) -> set[str]:
        return {re.match(r"[\w.-]+", one)[0] for one in listed}

    always, extras = (re.findall(r"^\| (.+?) \| (.+?) \|", part, re.M)[2:] for part in page.split("\n## ")[1:3])
    assert {first for first, _ in always} == names(project["dependencies"])
    optional = project["optional-dependencies"]
    ours = {name: names(listed) for name, listed in optional.items() if name not in ("test", "bench")}
    told = {name.strip(" `"): packages for cell, packages in extras for name in cell.split(",")}
    assert set(told) == set(ours)
    for name, listed in ours.items():
        assert listed <= set(told[name].split(", ")), name
    for one in names(optional["test"]) | names(optional["bench"]):
        assert re.search(rf"\b{re.escape(one.partition('[')[0])}\b", page), one
