"""Imports go app -> audit -> scoring, never back, and what the app starts with does not import torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FORBIDDEN = {
    "scoring": ("lossprint.audit", "lossprint.app", "streamlit", "plotly", "PIL", "pyarrow"),
    "audit": ("lossprint.app", "streamlit", "plotly"),
    "app": ("torch", "torchvision"),
}


def imported(file: Path) -> set[str]:
    """Every module that a file imports, at its top or in a function."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_go_one_way(folder):
    files = list((ROOT / folder).rglob("*.py"))
    assert len(files) > 5
    for file in files:
        for name in imported(file):
            for forbidden in FORBIDDEN[folder]:
                assert name != forbidden and not name.startswith(f"{forbidden}."), f"{file} imports {name}"


def test_what_is_trained_or_differentiated_alone_needs_torch_in_scoring():
    using = {file.name for file in (ROOT / "scoring").rglob("*.py") if "torch" in imported(file)}
    assert using == {"curvature.py", "linear.py"}


@pytest.mark.parametrize(
    "module",
    [
        "lossprint.scoring.trajectory",
        "lossprint.scoring.heads.combine",
        "lossprint.audit.runs.run",
        "lossprint.audit",
        "lossprint.app.data",
    ],
)
def test_imports_without_torch(module):
    code = f"import sys, {module}; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("folder", ["scoring", "audit", "app", "assets", "benchmarks", "docs", "examples", "tests"])
def test_files_stay_readable(folder):
    """No file over about 400 lines: above 450 one has more than one responsibility."""
    for file in (ROOT / folder).rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 450, file
