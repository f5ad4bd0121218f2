"""The command line as a user types it: exit statuses, one line for bad input, nothing half-written left as whole."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import cut_demo
from helpers import refused

from lossprint.audit.cli import main as cli
from lossprint.audit.runs.open import version

README = Path(__file__).parent.parent.parent.parent / "README.md"


def lossprint(*arguments) -> tuple[int, str]:
    """Exit status and standard error of the program, run as a program."""
    command = [sys.executable, "-m", "lossprint.audit.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_version_and_help_of_each_command(capsys):
    assert cli.main(["--version"]) == 0 and capsys.readouterr().out == f"lossprint {version()}\n"
    for command in commands():
        assert cli.main([*command.split(), "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: lossprint {command}")


def commands(group=cli.program, prefix: str = "") -> list[str]:
    """Every command of the program, subcommands written out."""
    names = []
    for name, command in group.commands.items():
        names += commands(command, f"{prefix}{name} ") if hasattr(command, "commands") else [f"{prefix}{name}"]
    return names


def test_every_command_is_in_the_readme_and_every_one_there_exists():
    text = README.read_text()
    known = commands()
    for command in known:
        assert f"lossprint {command}" in text, f"README.md does not show lossprint {command}"
    for found in re.findall(r"^\s*(?:\$ )?lossprint ((?:(?:export|reviews|coreset|runs) )?[a-z]+)", text, re.M):
        assert found in known, f"README.md shows lossprint {found}, which does not exist"


def test_wrong_use_is_one_line_with_status_2():
    for arguments in ([], ["nonsense"], ["audit"], ["audit", "x", "--out", "y", "--epochs", "none"]):
        status, error = lossprint(*arguments)
        assert status == 2 and error.startswith("lossprint: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "missing command (see lossprint --help)"),
        ("export", "missing command (see lossprint export --help)"),
        ("audit --out", "option '--out' requires an argument (see lossprint --help)"),
        ("audit data --out --quiet", "argument --out: expected a value, found --quiet (see lossprint audit --help)"),
        ("audit data", "the following arguments are required: --out (see lossprint audit --help)"),
        ("reviews assign run --overlap 0 --reviewers a", "argument --overlap: expected a whole number of 1 or more, "),
        ("coreset evaluate run --fractions 0.1 2", "argument --fractions: expected a number over 0 and up to 1, "),
        ("audit data --out run --device gpu", "argument --device: 'gpu' is not one of 'auto', 'cpu', 'cuda' (see "),
    ],
)
def test_wrong_use_says_which_argument_and_where_to_look(arguments, line, capsys):
    assert refused(capsys, *arguments.split()).startswith(f"lossprint: {line}")


@pytest.mark.parametrize(("word", "meant"), [("exports", "export"), ("audit data --out run --epoch 3", "--epochs")])
def test_a_slip_of_the_finger_is_answered_by_what_was_meant(word, meant, capsys):
    line = refused(capsys, *word.split())
    assert "id you mean" in line and f"'{meant}'" in line


def test_help_and_a_wrong_option_import_nothing_slow():
    program = (
        "import sys; from lossprint.audit.cli.main import main\n"
        "main(['--help']), main(['coreset', 'evaluate', '--help']), main(['audit', '--epochs', 'x'])\n"
        "sys.exit(bool({'torch', 'sqlalchemy', 'streamlit', 'scipy', 'pydicom'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_several_values_after_one_name(monkeypatch, audited):
    calls = []
    monkeypatch.setattr("lossprint.audit.coresets.evaluate.evaluate", lambda *asked, **how: calls.append((asked, how)))
    monkeypatch.setattr("lossprint.audit.coresets.evaluate.text", lambda table: "")
    run = str(audited)
    for arguments in (
        [run, "--methods", "cld", "random", "--fractions", "0.5", "0.1"],
        ["--fractions", "0.5", "0.1", "--methods", "cld", "random", "--quiet", run],
        ["--methods", "cld", "--methods=random", "--fractions=0.1", "--fractions", "0.5", "--", run],
    ):
        assert cli.main(["coreset", "evaluate", *arguments]) == 0
        (_, methods, fractions), how = calls.pop()
        assert (methods, fractions, how["seeds"]) == (["cld", "random"], [0.1, 0.5], 3)
        assert "equal" not in how and "jobs" not in how, "what was not asked for is left to the function"


def manifest(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Twelve images a.png to l.png beside which a manifest can be written."""
    from PIL import Image

    folder = tmp_path / "data"
    folder.mkdir()
    for i, name in enumerate("abcdefghijkl"):
        Image.fromarray(np.full((28, 28), 20 * i, np.uint8)).save(folder / f"{name}.png")
    return folder


BAD_DATASETS = {
    "no label column": ("path,split\na.png,train\n", "label"),
    "outside its folder": ("path,label\n../secret.png,x\na.png,x\nb.png,y\nc.png,y\n", r"\.\./secret\.png"),
    "one class": ("path,label\na.png,x\nb.png,x\nc.png,x\n", "class"),
    "a class with one sample": ("path,label\na.png,x\nb.png,x\nc.png,x\nd.png,lonely\n", "lonely"),
    "no readable image": ("path,label\nno1.png,x\nno2.png,x\nno3.png,y\nno4.png,y\n", "readable"),
}


@pytest.mark.parametrize("case", BAD_DATASETS)
def test_bad_datasets(case, pictures, tmp_path, capsys):
    text, message = BAD_DATASETS[case]
    line = refused(capsys, "audit", manifest(pictures, text), "--out", tmp_path / "run")
    assert re.search(message, line), line
    assert not (tmp_path / "run").exists()


def test_no_such_path(tmp_path, capsys):
    line = refused(capsys, "audit", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert "nowhere" in line and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "message"), [(("--folds", "1"), "2 folds or more"), (("--seeds", "0"), "1 or more")]
)
def test_bad_numbers_of_trainings(option, message, tmp_path, capsys):
    line = refused(capsys, "audit", tmp_path, "--out", tmp_path / "run", *option)
    assert message in line and option[1] in line


def test_unknown_model_says_what_there_is(pictures, tmp_path, capsys):
    good = manifest(pictures, "path,label\na.png,x\nb.png,x\nc.png,x\nd.png,y\ne.png,y\nf.png,y\n")
    line = refused(capsys, "audit", good, "--out", tmp_path / "run", "--model", "resnet19")
    assert "resnet18" in line and "small" in line and not (tmp_path / "run").exists()


def test_runs_that_are_not_are_refused_by_every_command(audited, tmp_path, capsys):
    empty, newer, half, broken = (tmp_path / name for name in ("empty", "newer", "half", "broken"))
    empty.mkdir()
    for folder, change in ((newer, {"format": 99, "lossprint": "9.0"}), (half, {"stages": ["record"]})):
        shutil.copytree(audited, folder)
        told = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(told | change))
    shutil.copytree(audited, broken)
    (broken / "run.json").write_text('{"format": 1, "asked"')
    out = tmp_path / "out.csv"
    uses = {
        "app": lambda run: ["app", run],
        "coreset": lambda run: ["export", "coreset", run, "--method", "cld", "--fraction", "0.1", "--out", out],
        "cleaned": lambda run: ["export", "cleaned", run, "--out", out],
        "findings": lambda run: ["export", "findings", run, "--out", out],
    }
    for name, use in uses.items():
        assert "nothing" in refused(capsys, *use(tmp_path / "nowhere"))
        if name != "app":  # it serves a folder without runs, in which they can be made
            assert "run.json" in refused(capsys, *use(empty))
        assert "format 99" in refused(capsys, *use(newer)) and not out.exists()
        assert "half written" in refused(capsys, *use(half))
        assert "readable run.json" in refused(capsys, *use(broken))
    assert "half written" not in refused(capsys, "score", newer)
    assert not out.exists()


def test_bad_wishes_for_a_coreset(audited, tmp_path, capsys):
    base = ["export", "coreset", audited, "--out", tmp_path / "c.csv"]
    assert "cld" in refused(capsys, *base, "--method", "cdl", "--fraction", "0.5")
    refused(capsys, *base, "--method", "cld", "--fraction", "1.5")
    refused(capsys, *base, "--method", "cld")
    refused(capsys, *base, "--method", "cld", "--fraction", "0.5", "--per-class", "3")
    assert not (tmp_path / "c.csv").exists()


def test_bad_losses(small_dataset, tmp_path, capsys):
    def imported(**arrays):
        np.savez(tmp_path / "losses.npz", **arrays)
        line = refused(
            capsys, "import", tmp_path / "losses.npz", "--dataset", small_dataset, "--out", tmp_path / "run", "--quiet"
        )
        assert not (tmp_path / "run").exists()
        return line

    good = np.ones((300, 4), np.float32)
    spoilt = good.copy()
    spoilt[5, 2] = np.nan
    assert re.search("NaN", imported(train_losses=spoilt, val_losses=np.ones((45, 4))), re.I)
    assert "299" in imported(train_losses=good[:299], val_losses=np.ones((45, 4)))
    assert imported(train_losses=np.ones(300), val_losses=np.ones((45, 4)))
    line = refused(capsys, "import", tmp_path / "no.npz", "--dataset", small_dataset, "--out", tmp_path / "run")
    assert "no.npz" in line and not (tmp_path / "run").exists()


def test_exports_of_a_real_run(audited, tmp_path):
    out = tmp_path / "coreset.csv"
    for method in ("cld", "random"):
        assert (
            cli.main(["export", "coreset", str(audited), "--method", method, "--fraction", "0.2", "--out", str(out)])
            == 0
        )
        chosen = pd.read_csv(out)
        assert list(chosen.columns) == ["sample", "path", "label", "score", "rank"] and len(chosen) == 60
        assert chosen["label"].value_counts().tolist() == [20, 20, 20]
        assert chosen["rank"].tolist() == list(range(1, 61))
    assert cli.main(["export", "findings", str(audited), "--out", str(tmp_path / "f.csv")]) == 0
    columns = ["kind", "sample", "path", "label", "suggested_label", "severity", "rank", "group"]
    assert list(pd.read_csv(tmp_path / "f.csv").columns) == columns
    assert cli.main(["export", "cleaned", str(audited), "--out", str(tmp_path / "clean.csv")]) == 0
    cleaned = pd.read_csv(tmp_path / "clean.csv")
    assert len(cleaned) == 345 and list(cleaned.columns[:3]) == ["path", "label", "split"]


def test_audit_as_a_program(tmp_path):
    dataset = cut_demo(tmp_path / "data", 20, 3)
    out = tmp_path / "run"
    status, error = lossprint("audit", dataset, "--out", out, "--epochs", "2", "--curvature-checkpoints", "0")
    assert status == 0, error
    assert "train" in error and "epoch 2/2" in error  # the progress bar
    status, error = lossprint("audit", dataset, "--out", out)
    assert status == 2 and "--resume" in error


def test_places_and_numbers_that_do_not_do(audited, small_dataset, tmp_path, capsys):
    line = refused(capsys, "audit", small_dataset, "--out", small_dataset / "run")
    assert "labels.csv" in line
    assert "4294967295" in refused(capsys, "audit", small_dataset, "--out", tmp_path / "r", "--seed", "99999999999999")
    base = ["export", "coreset", audited, "--method", "random", "--fraction", "0.5"]
    assert "0 to" in refused(capsys, *base, "--out", tmp_path / "c.csv", "--seed", "-3")
    before = (audited / "run.json").read_bytes()
    for out in (audited / "run.json", audited / "scores.parquet", audited / "new.csv"):
        refused(capsys, "export", "findings", audited, "--out", out)
    assert (audited / "run.json").read_bytes() == before and not (audited / "new.csv").exists()
    (tmp_path / "run").mkdir()
    wrong = {"format": 1, "asked": [], "dataset": [], "stages": "find", "facts": {}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(wrong))
    assert "asked" in refused(capsys, "score", tmp_path / "run")
