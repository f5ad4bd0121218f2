"""The house: imports go lossprint -> app -> audit -> scoring and within each from higher floors to lower ones, never in
a circle; what the app starts with does not import torch; files and folders stay readable."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PARTS = ("scoring", "audit", "app", "lossprint")
FORBIDDEN = {
    "scoring": ("lossprint.audit", "lossprint.app", "streamlit", "plotly", "PIL", "pyarrow"),
    "audit": ("lossprint.app", "streamlit", "plotly"),
    "app": ("torch", "torchvision"),
    "lossprint": ("lossprint.app.data", "lossprint.app.shared", "streamlit"),
}
# From the ground up. A room imports rooms of lower floors, and no other room of its own floor.
FLOORS = {
    "audit": (
        "types words",
        "scores",
        "system",
        "datasets runs",
        "recording review",
        "training",
        "video",
        "findings export memorized",
        "coresets comparison workflow",
        "report",
        "check repair",
        "cli",
        "lightning_callback transformers_callback per_sample",  # names of before 0.2
    ),
    "app": (
        "access",
        "data",
        "elements charts",
        "deep",
        "shared",
        "questions",
        "views",
        "doors search",
        "signin",
        "main",
        "serve",
    ),
}


def imported(file: Path, types: bool = True) -> set[str]:
    """Every module, and every name of one, that a file imports, at its top or in a function; with `types` also
    what only checkers of types import."""
    names, tree = set(), ast.parse(file.read_text())
    if not types:
        tree.body = [
            one for one in tree.body if not (isinstance(one, ast.If) and "TYPE_CHECKING" in ast.dump(one.test))
        ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rising(part: Path, floors: tuple[str, ...]) -> list[str]:
    """The imports of a part of the house (a folder such as audit/) that do not go down: "file imports name"."""
    floor = {room: number for number, rooms in enumerate(floors) for room in rooms.split()}
    edges = []
    for file in sorted(part.rglob("*.py")):
        words = file.relative_to(part).with_suffix("").parts
        if words == ("__init__",):
            continue
        room = words[0]
        assert room in floor, f"{file} stands in no room of {part.name}/"
        for name in sorted(imported(file)):
            other = name.split(".")[2:3] if name.startswith(f"lossprint.{part.name}.") else []
            if other and other[0] in floor and other[0] != room and floor[other[0]] >= floor[room]:
                edges.append(f"{file.relative_to(part.parent)} imports {name}")
    return edges


def module_of(file: Path, root: Path) -> str:
    words = file.relative_to(root).with_suffix("").parts
    return ".".join(words if words[0] == "lossprint" else ("lossprint", *words)).removesuffix(".__init__")


def graph(root: Path) -> dict[str, set[str]]:
    """Which module of ours imports which, at its top or in a function."""
    files = {module_of(file, root): file for part in PARTS for file in (root / part).rglob("*.py")}
    return {
        name: {other for other in imported(file, types=False) if other in files and other != name}
        for name, file in files.items()
    }


def pages_that_import_pages(views: Path) -> list[str]:
    """A page is a module of views/, or a folder there with all its parts."""
    edges = []
    for file in sorted(views.rglob("*.py")):
        page = file.relative_to(views).with_suffix("").parts[0]
        others = {name.split(".")[3] for name in imported(file) if name.startswith("lossprint.app.views.")}
        edges += [f"{page} imports {other}" for other in sorted(others - {page})]
    return edges


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_go_one_way(folder):
    files = list((ROOT / folder).rglob("*.py"))
    assert len(files) > 2
    for file in files:
        for name in imported(file):
            assert folder == "lossprint" or not (name == "lossprint" or name.startswith("lossprint._")), (
                f"{file} imports the names that are for users"
            )
            for forbidden in FORBIDDEN[folder]:
                assert name != forbidden and not name.startswith(f"{forbidden}."), f"{file} imports {name}"


@pytest.mark.parametrize("part", FLOORS)
def test_rooms_import_lower_floors_only(part):
    assert rising(ROOT / part, FLOORS[part]) == []


def test_an_import_that_goes_up_or_sideways_is_found(tmp_path):
    for room, text in {
        "runs": "def late():\n    from lossprint.audit.report import page\n",
        "datasets": "import lossprint.audit.runs.run\nfrom lossprint.audit import types\n",
        "report": "from lossprint.audit import runs\nfrom lossprint.audit.report import page\n",
    }.items():
        (tmp_path / "audit" / room).mkdir(parents=True)
        (tmp_path / "audit" / room / "planted.py").write_text(text)
    assert rising(tmp_path / "audit", FLOORS["audit"]) == [
        "audit/datasets/planted.py imports lossprint.audit.runs.run",
        "audit/runs/planted.py imports lossprint.audit.report",
        "audit/runs/planted.py imports lossprint.audit.report.page",
    ]


def test_a_room_without_a_floor_is_refused(tmp_path):
    (tmp_path / "audit" / "attic").mkdir(parents=True)
    (tmp_path / "audit" / "attic" / "planted.py").write_text("")
    with pytest.raises(AssertionError, match="stands in no room"):
        rising(tmp_path / "audit", FLOORS["audit"])


def test_no_page_imports_a_page():
    assert pages_that_import_pages(ROOT / "app" / "views") == []


def test_no_module_imports_itself_in_a_circle():
    assert len(list(TopologicalSorter(graph(ROOT)).static_order())) > 150


def test_a_planted_circle_is_found(tmp_path):
    for part in PARTS:
        (tmp_path / part).mkdir()
    (tmp_path / "audit" / "a.py").write_text("from lossprint.audit import b\n")
    (tmp_path / "audit" / "b.py").write_text("def late():\n    from lossprint.audit.a import name\n")
    with pytest.raises(CycleError, match=r"lossprint\.audit\.a"):
        TopologicalSorter(graph(tmp_path)).prepare()


def test_each_room_says_what_it_is_for_and_what_it_imports():
    rooms = [file.parent for part in ("audit", "app") for file in (ROOT / part).glob("*/__init__.py")]
    assert len(rooms) >= 18
    for room in rooms:
        text = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
        assert "import" in text and len(text) > 40, f"{room} does not say what it is for and what it imports"


def test_each_folder_of_code_is_in_the_wheel():
    import tomllib

    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {module_of(file, ROOT) for part in (*PARTS, "assets") for file in (ROOT / part).rglob("__init__.py")}
    assert set(packages) == folders
    for part in PARTS:
        for file in (ROOT / part).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), f"{file.parent} has no __init__.py"


def test_what_is_trained_or_differentiated_alone_needs_torch_in_scoring():
    using = {file.name for file in (ROOT / "scoring").rglob("*.py") if "torch" in imported(file, types=False)}
    assert using == {"input_curvature.py", "linear.py"}


@pytest.mark.parametrize(
    "module",
    [
        "lossprint",
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


@pytest.mark.parametrize("folder", [*PARTS, "assets", "benchmarks", "docs", "examples", "tests"])
def test_files_stay_readable(folder):
    """About 400 lines a file. Up to 600 where one noun needs them, which the file's docstring says: "one noun"."""
    for file in (ROOT / folder).rglob("*.py"):
        lines = len(file.read_text().splitlines())
        reason = "one noun" in (ast.get_docstring(ast.parse(file.read_text())) or "")
        assert lines <= (600 if reason else 450), f"{file} has {lines} lines"


@pytest.mark.parametrize("part", PARTS)
def test_folders_stay_readable(part):
    """At most 16 modules a folder, beside its __init__."""
    for folder in (ROOT / part, *(path for path in (ROOT / part).rglob("*") if path.is_dir())):
        modules = [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
        assert len(modules) <= 16, f"{folder} has {len(modules)} modules"
