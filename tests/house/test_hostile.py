"""Hostile inputs by kind, see `hostile` and `hostile_files`; and what the source itself may not contain."""

import ast
import re
from pathlib import Path

import pytest
from hostile_files import KINDS, SLOW

ROOT = Path(__file__).parent.parent.parent
CASES = [(kind, name) for kind, cases in KINDS.items() for name in cases if name not in SLOW]
# One path through the program for every text: a few of each kind in `make test`, all of them among the proofs.
ALIKE = {"names", "markup in the report", "formulas in every exported CSV", "a million classes"}
FEW = 4
LONG = {"100,000 labels of one row"}  # beside 300,000 of two
FILES = sorted(file for folder in ("scoring", "audit", "app") for file in (ROOT / folder).rglob("*.py"))
# What unpickles, runs text or starts a shell. numpy and torch are looked at call by call.
MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
    "jsonpickle",
    "pandas.io.pickle",
}
CALLS = {"eval", "exec", "compile", "read_pickle", "to_pickle", "os.system", "os.popen", "__import__"}
OWN_CSV = {"facts.py", "tasks.py"}  # digests of tables, which nobody opens


def _case(kind: str, name: str):
    rare = name in LONG or (kind in ALIKE and list(KINDS[kind]).index(name) >= FEW)
    marks = [pytest.mark.proof] if rare else []
    return pytest.param(kind, name, marks=marks, id=f"{kind}-{name}"[:70].encode("ascii", "replace").decode())


@pytest.mark.parametrize(("kind", "name"), [_case(kind, name) for kind, name in CASES])
def test_nothing_is_let_through(kind, name, tmp_path):
    KINDS[kind][name](tmp_path.resolve())


def test_each_kind_has_cases():
    assert len(CASES) > 100 and all(KINDS.values())


# ------------------------------------------------------------------------------------------------ the source


def faults(source: str) -> list[str]:
    """What in a module's source loads pickles, runs text, or calls a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name in MODULES or name.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
        last = name.rpartition(".")[2]
        if name in CALLS or (last in CALLS and last.endswith("pickle")) or given.get("shell") == "True":
            found.append(name)
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append(name)
        if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
            found.append(name)
        if given.get("allow_pickle") == "True" or given.get("unsafe_allow_html") == "True":
            found.append(f"{name} with a flag")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_unpickles_or_runs_text(file):
    assert not faults(file.read_text())


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from joblib import load", "torch.load(x)", "np.load(x)", "pd.read_pickle(x)", "eval(x)",
     "torch.load(x, weights_only=False)", "np.load(x, allow_pickle=True)", "yaml.load(x)\nimport yaml", "os.system(x)",
     "subprocess.run(x, shell=True)", "st.markdown(x, unsafe_allow_html=True)"],
)  # fmt: skip
def test_such_a_module_would_be_seen(line):
    assert faults(line)


def test_csv_is_written_by_one_module():
    """Else a new export could let formulas through: `csvfile` guards each cell."""
    writes = re.compile(r"\.to_csv\(|csv\.writer\(|DictWriter\(|write_csv as|pacsv\.write")
    assert {file.name for file in FILES if writes.search(file.read_text())} <= OWN_CSV
