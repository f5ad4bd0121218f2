"""The documentation: every block of code runs, in order, page by page; what is generated is up to date."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from conftest import cut_demo
from helpers import answering, environment, free_port

from lossprint.audit import open_run
from lossprint.audit.cli import main as cli
from lossprint.audit.runs.run import STAGES
from lossprint.audit.scores import SCORES
from lossprint.scoring.coresets.methods import ADVICE, METHODS

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.S | re.M)
GENERATED = ("scores.md", "reference/")
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
WRITTEN = [page for page in PAGES if not page.startswith(GENERATED)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A run of the demo dataset in few epochs: what `lossprint demo` finds there, it uses as it is."""
    from importlib.resources import files

    from lossprint.audit.workflow.audit import audit

    out = tmp_path_factory.mktemp("docs") / "runs" / "demo"
    source = files("lossprint.assets") / "demo" / "labels.csv"
    audit(str(source), out, epochs=1, curvature_checkpoints=0, quiet=True)
    return out


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where a reader of the pages stands: a small dataset in data/, the program on the path."""
    cut_demo(tmp_path / "data", 30, 12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    with environment():  # which a page may change
        yield tmp_path


def blocks(page: str) -> list[tuple[str, str | None, str]]:
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


SMOKE = "howto/losses.md"  # runs with every change, the others among the proofs


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[] if page == SMOKE else pytest.mark.proof) for page in WRITTEN if blocks(page)],
)
def test_every_block_runs(page, here, request):
    if page == "tutorial.md":
        (here / "runs").mkdir()
        (here / "runs" / "demo").symlink_to(request.getfixturevalue("demo"))
    names: dict = {"__name__": "__main__"}
    for language, title, text in blocks(page):
        if title:
            Path(title).parent.mkdir(parents=True, exist_ok=True)
            Path(title).write_text(text, encoding="utf-8")
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(text, page, "exec"), names)
        elif language == "bash":
            for line in text.replace("\\\n", "").splitlines():
                run_line(line, here)
        else:
            assert language == "text", f"{page}: a block of {language} that nothing runs"


def test_every_block_of_python_can_be_read():
    for page in WRITTEN:
        for language, _, text in blocks(page):
            if language == "python":
                compile(text, page, "exec")


def run_line(line: str, here: Path) -> None:
    """One line of shell. Commands of ours run in this process, which has torch already; servers until they answer."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[(.*?)\]", line)
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert "lossprint" in line and set(",".join(extras).split(",")) <= {*known, ""}, line
    elif words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["lossprint", "app"]:
        port = free_port()
        command = [*words, "--port", str(port), "--no-browser"]
        with TemporaryFile("w+") as log, answering(command, f"http://127.0.0.1:{port}", log):
            pass
    elif words[0] == "lossprint" and not set(words) & {"&&", "|", ">", "ray"}:  # Ray keeps the token of its first HOME
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            status = cli.main(words[1:])
        assert status == 0, f"{line}: {said.getvalue()}"
    else:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=here, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr[-2000:]}"


def test_the_generated_pages_are_up_to_date():
    sys.path.insert(0, str(DOCS))
    try:
        import make_reference
    finally:
        sys.path.remove(str(DOCS))
    for path, text in make_reference.pages().items():
        assert (DOCS / path).read_text(encoding="utf-8") == text, f"docs/{path} lags behind the code: make reference"


def test_every_page_is_in_the_contents_and_every_link_leads_somewhere():
    contents = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        assert re.search(rf"- {re.escape(page)}$", contents, re.M), page
        for link in re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text(encoding="utf-8")):
            assert (DOCS / page).parent.joinpath(link).is_file(), f"{page}: {link}"


def test_every_method_and_the_whole_advice_are_on_the_page_of_coresets():
    text = (DOCS / "coresets.md").read_text(encoding="utf-8")
    for when, choose, why in ADVICE:
        assert f"| {when} | `{choose}` | {why} |" in text and choose in METHODS
    methods = text[text.index("## The methods") :]
    for name in METHODS:
        assert name in methods, name


@pytest.mark.parametrize("name", SCORES)
def test_each_score_is_explained(name):
    assert re.search(rf"^## .+ \(`{name}`\)$", (DOCS / "scores.md").read_text(encoding="utf-8"), re.M)


def test_the_run_folder_is_described_as_it_is(audited):
    text = (DOCS / "reference" / "run-folder.md").read_text(encoding="utf-8")
    assert open_run(audited).stages == list(STAGES)
    for file in audited.iterdir():
        assert file.name in text, f"docs/reference/run-folder.md does not name {file.name}"


def test_each_row_of_a_table_stands_on_one_page():
    pages: dict[str, str] = {}
    for page in WRITTEN:
        for row in re.findall(r"^\|.{60,}\|$", (DOCS / page).read_text(encoding="utf-8"), re.M):
            assert pages.setdefault(row, page) == page, f"{page} repeats a row of {pages[row]}: {row}"


@pytest.mark.proof
def test_the_site_builds(tmp_path):
    """Strictly: a page left out of the contents or a dead link is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path), "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    page = (tmp_path / "tutorial" / "index.html").read_text(encoding="utf-8")
    assert "loss print" in page and "fonts.googleapis.com" not in page
