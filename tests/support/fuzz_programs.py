"""What is fuzzed: run folders and commands on them, the command line's arguments, the roles file, the app's URLs."""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from random import Random
from types import SimpleNamespace

import mutation
import pyarrow.parquet as pq
from fuzz_targets import LIMIT, Check, Target, assert_one_line, assert_only, limited, listing, refused
from helpers import environment, make_run
from streamlit.testing.v1 import AppTest

from lossprint.app import data
from lossprint.app import main as main_of_app
from lossprint.app.access import roles as access
from lossprint.audit.cli import app as cli_app
from lossprint.audit.cli import main as cli
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import how_far, list_runs, open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.scores import SCORES
from lossprint.audit.types import DECISIONS, KINDS
from lossprint.scoring.coresets.methods import METHODS


def command(arguments: list[str], cpu: float = LIMIT) -> tuple[int, str]:
    """The exit status of a command and what it wrote to standard error. Streams refuse what UTF-8 cannot hold."""
    said, told = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors=how) for how in ("strict", "backslashreplace"))
    with redirect_stdout(said), redirect_stderr(told), limited(cpu):
        status = cli.main(arguments)
    told.flush()
    return status, told.buffer.getvalue().decode()


def assert_known(status: int, told: str) -> None:
    """0, 1 or 2, and where it is not 0 one line that says why."""
    assert status in (0, 1, 2), f"exit status {status}"
    assert "Traceback" not in told
    if status:
        assert_one_line([line for line in told.splitlines() if "Warning" not in line and line[:2] != "  "][-1])


# ------------------------------------------------------------------------------------------------ run folders


def run_json(folder: Path) -> Check:
    def damage(rng: Random, run: Path) -> None:
        (run / "run.json").write_bytes(mutation.mutated_json(rng, (run / "run.json").read_bytes()))

    return _runs(folder, damage)


def run_tables(folder: Path) -> Check:
    """Parquet of a run with other columns and values, or damaged within."""

    def damage(rng: Random, run: Path) -> None:
        file = rng.choice(sorted(run.rglob("*.parquet")))
        if rng.random() < 0.7:
            pq.write_table(mutation.mutated_table(rng, pq.read_table(file, partitioning=None)), file)
        else:
            file.write_bytes(mutation.mutated_tail(rng, file.read_bytes()))

    return _runs(folder, damage)


def run_tensors(folder: Path) -> Check:
    """Safetensors of a run, with and without their digest, and files that are there twice, gone or of an odd name."""

    from safetensors.numpy import load_file, save

    def damage(rng: Random, run: Path) -> None:
        roll = rng.random()
        files = sorted(run.rglob("*.safetensors"))
        if roll < 0.35:
            file = rng.choice(files)
            file.write_bytes(mutation.mutated_safetensors(rng, file.read_bytes()))
            return
        if roll < 0.7:
            file = rng.choice(files)
            file.write_bytes(save(mutation.mutated_arrays(rng, load_file(file))))
            return
        file = rng.choice(sorted(one for one in run.rglob("*") if one.is_file() and one.name != "run.json"))
        if roll < 0.8:
            file.unlink()
        elif roll < 0.9:
            file.write_bytes(b"")
        else:
            name = rng.choice(
                ("rank-1.parquet", "rank-x.parquet", "²", "checkpoint=x", "checkpoint=²", "0", "².safetensors")
            )
            if rng.random() < 0.5:
                shutil.copyfile(file, file.parent / name)
            elif not (file.parent / name).exists():
                (file.parent / name).mkdir()

    return _runs(folder, damage)


EXPORTS = ("findings", "cleaned", "manifest", "changes", "cleanlab", "labelstudio", "coreset", "segments")


def _runs(folder: Path, damage) -> Check:
    """Damage a copy of a run, read all of it, and call one command on it."""
    import_module("torch")  # seconds that are no input's
    made = make_run(folder / "made", train=6, held_out=3, frames=True)
    with open_reviews(made) as kept:
        kept.add(finding="label_error:1", sample=1, decision="relabel", new_label="bag", reviewer="ann")
        kept.add(finding="label_error:4", sample=4, decision="exclude", reviewer="bob", comment="=1")
    run, out = folder / "run", folder / "out"
    out.mkdir()

    def check(rng: Random) -> None:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(made.path, run)
        damage(rng, run)
        refused(lambda: list_runs(folder))
        opened: list[Run] = []
        if not refused(lambda: opened.append(open_run(run, rng.choice(("find", None))))):
            read_all(opened[0])
        what = rng.choice((*EXPORTS, "report", "score", "status", "assign"))
        place = out / "file"
        arguments = {
            "report": ["report", str(run), "--out", f"{place}.html"],
            "score": ["score", str(run), "--quiet"],
            "status": ["reviews", "status", str(run)],
            "assign": ["reviews", "assign", str(run), "--reviewers", "a,b"],
        }.get(what) or ["export", what, str(run), "--out", f"{place}.{'json' if what == 'labelstudio' else 'csv'}"]
        if what == "coreset":
            arguments += ["--method", rng.choice(list(METHODS)), "--fraction", "0.5"]
        status, told = command(arguments)
        assert_known(status, told)
        if status:
            assert_only(out, set())
        assert not list(folder.rglob("*.part")), "half a file was left"
        for file in out.iterdir():
            file.unlink()

    return check


def read_all(run: Run) -> None:
    """Call every reader of a run; each may refuse, in one line."""
    tables = ("samples", "scores", "findings", "pairs", "frames", "spans", "unreadable", "duplicates", "curvature")
    for name in (*tables, "embeddings", "timeline", "saved_checkpoints", "recorded", "curvature_recorded", "known"):
        refused(getattr(run, name))
    for split in ("train", "val"):
        refused(lambda split=split: run.trajectory(split))
        for checkpoint in run.recorded(split):
            refused(lambda split=split, checkpoint=checkpoint: run.part(split, checkpoint).to_pandas())
    refused(run.read_state)
    assert_one_line(how_far(run))


# ------------------------------------------------------------------------------------------------ command line


def arguments(folder: Path) -> Check:
    """Options and values of all commands, in right and in wrong places. What would train or serve is replaced."""
    # They take seconds that are no input's.
    for name in ("comparison.compare", "coresets.evaluate", "workflow.demo", "workflow.from_checkpoints"):
        import_module(f"lossprint.audit.{name}")
    run = make_run(folder, train=6, held_out=3)
    known = listing(folder)
    heads = [["audit"], ["import"], ["record"], ["score"], ["app"], ["demo"], ["report"], ["coreset", "evaluate"], []]
    heads += [["export", name] for name in EXPORTS] + [["coreset", "apply"], ["reviews", "status"], ["export"]]
    heads += [["reviews", "assign"], ["reviews", "import"], ["reviews"], ["verify"], ["coreset"]]
    options = sorted({name for command in commands() for param in command.params for name in param.opts if "-" in name})
    paths = [str(run.path), str(folder), str(folder / "nothing"), str(folder / "data" / "labels.csv"), "/dev/null", "-"]
    outs = [str(folder / "out" / name) for name in ("a.csv", "a.json", "a.html", "a", "a.parquet", "\udcff.csv")]
    words = ["0.5", "1", "2", "0", "random", "cld", "all", "latest", "majority", "reviewer:ann", "a,b", "small", "auto"]

    def check(rng: Random) -> None:
        made = list(rng.choice(heads))
        made += [str(run.path)] * (rng.random() < 0.5)
        for _ in range(rng.randint(0, 7)):
            roll = rng.random()
            value = rng.choice((*paths, *outs, *words)) if rng.random() < 0.7 else mutation.odd_text(rng)
            value = value.replace("\0", "") or value  # the system passes no such argument
            value = value[:1000]
            if roll < 0.35:
                made += [rng.choice(options), value]
            elif roll < 0.45:
                made += [f"{rng.choice(options)}={value}"]
            elif roll < 0.5:
                made += [rng.choice(options)]
            else:
                made += [value]
        if rng.random() < 0.6:
            made += ["--out", rng.choice(outs)]
        with _nothing_heavy(run), _within(folder / "data"):
            status, told = command(made)
        assert_known(status, told)
        for place in (folder / "out", run.path / "exports"):
            assert not list(place.rglob("*.part")) and not list(place.rglob(".*.part")), "half a file was left"
            shutil.rmtree(place, ignore_errors=True)
        for name in listing(folder) - known:
            if not name.startswith("run/reviews.db"):
                remove(folder / name)

    return check


def remove(place: Path) -> None:
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)


def commands(group=cli.program) -> Iterator:
    """The program, its groups and their commands."""
    yield group
    for command in getattr(group, "commands", {}).values():
        yield from commands(command)


@contextmanager
def _within(folder: Path):
    """Relative names are looked up there; nothing is asked of the network, whatever a URL says."""
    cache = str(folder.parent / "cache")
    with chdir(folder), environment(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", LOSSPRINT_CACHE=cache):
        yield


@contextmanager
def _nothing_heavy(run: Run):
    """Training and serving replaced by a run that is there, sockets by a refusal."""
    import socket

    from lossprint.audit.comparison import compare
    from lossprint.audit.coresets import evaluate
    from lossprint.audit.workflow import audit, demo, from_checkpoints

    def refuse(*_, **__):
        raise OSError("no network here")

    def made(*_, **__):
        return run

    changes = [(audit, "audit", made), (demo, "audit_demo", made), (demo, "audit_video_demo", made)]
    changes += [(from_checkpoints, "record", made), (compare, "compare", refuse), (evaluate, "evaluate", refuse)]
    changes += [
        (cli_app, "_serve", lambda *_, **__: 0),
        (socket.socket, "connect", refuse),
        (socket, "getaddrinfo", refuse),
    ]
    changes += [(cli_app, "subprocess", SimpleNamespace(run=lambda *_, **__: SimpleNamespace(returncode=0)))]
    before = [getattr(where, name) for where, name, _ in changes]
    for where, name, new in changes:
        setattr(where, name, new)
    try:
        yield
    finally:
        for (where, name, _), old in zip(changes, before):
            setattr(where, name, old)


# ------------------------------------------------------------------------------------------------ app


def roles(folder: Path) -> Check:
    folder.mkdir(parents=True)
    toml = b'default = "viewer"\nhours = 8\n[roles]\n"ann@x.org" = "owner"\n"*@y.org" = "reviewer"\n"b@z" = "none"\n'
    csv = b"email,role\nann@x.org,owner\n*@y.org,reviewer\nb@z,none\n"

    def check(rng: Random) -> None:
        ending, seed = rng.choice(((".toml", toml), (".csv", csv)))
        path = folder / f"roles{ending}"
        path.write_bytes(mutation.mutated_text(rng, seed, b'=[]"\n\r,*@'))
        found: list[access.Roles] = []
        if not refused(lambda: found.append(access.read_roles(path))):
            for email in ("ann@x.org", "c@y.org", mutation.odd_text(rng)):
                assert found[0].role(email) in (None, *access.ROLES)

    return check


def names() -> list[str]:
    """What the pages read from the URL, by their source: a parameter that is new is tried as well."""
    source = "\n".join(file.read_text() for file in Path(main_of_app.__file__).parent.rglob("*.py"))
    found = re.findall(r'(?:key=|url_(?:asks|value)\(|query_params(?:\.get\(|\[))f?"([a-z_{}]+)"', source)
    prefixed = {name.replace("{prefix}", start) for name in found for start in ("", "o", "l", "d", "c", "x", "s_")}
    assert {"run", "sample", "open", "finding", "size", "osize", "queue"} <= prefixed
    return sorted(prefixed | {"given", "suggested", "per", "oper", "x", "y", "a", "b", "set", "other", "embed"})


def urls(folder: Path) -> Check:
    """A page with some parameters in its URL, half of the odd ones empty: each value counts."""
    run = make_run(folder, train=6, held_out=3, frames=True)
    os.environ[data.RUNS] = str(run.path)
    pages, known = [page[0] for page in main_of_app.PAGES], names()
    good = [
        "0",
        "1",
        "4",
        "17",
        "train_003",
        "label_error:1",
        "duplicate:0",
        "bag",
        "coat",
        "all",
        "true",
        "run",
        "val",
    ]
    good += [*SCORES, *KINDS, *DECISIONS, *METHODS, "train-1", "images/train_003.png"]

    def check(rng: Random) -> int:
        name = rng.choice(pages)
        app = AppTest.from_string(f"from lossprint.app import main\nmain.main({name!r})", default_timeout=120)
        asked = {}
        for key in rng.sample(known, rng.randint(8, 24)):
            value = rng.choice(good) if rng.random() < 0.4 else rng.choice(("", mutation.odd_text(rng)))
            asked[key] = value.encode("utf-8", "replace").decode()  # a URL is UTF-8
        app.query_params.update(asked)
        try:
            app.run()
        except (UnicodeEncodeError, KeyError) as error:
            raise AssertionError(f"{name} {asked}: {error!r}") from error
        wrong = [one.value for one in (*app.exception, *app.error) if "expected" not in str(one.value)]
        assert not wrong, f"{name} {json.dumps(asked)[:600]}: {wrong[0]}"
        assert app.title, f"{name} {json.dumps(asked)[:600]}: nothing shown"
        return len(asked)

    return check


PROGRAMS = (
    Target("run-json", "run folders: run.json", run_json, short=40),
    Target("run-tables", "run folders: Parquet, and the commands on them", run_tables, short=40),
    Target("run-tensors", "run folders: safetensors, files missing or odd", run_tensors, short=40),
    Target("arguments", "command-line arguments", arguments, short=120),
    Target("roles", "roles file: TOML, CSV", roles),
    Target("urls", "URL parameters of the app", urls, short=100, unit="values"),
)

if sys.platform == "win32":  # no signals by time there
    raise ImportError("the fuzz targets need SIGPROF")
