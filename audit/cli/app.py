"""`lossprint demo` and `lossprint app`: the dashboard, as a program of its own."""

import os
import subprocess
import sys
from pathlib import Path

import click

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.audit import summary
from lossprint.audit.cli.command import Command
from lossprint.audit.runs.open import list_runs, open_run

_server = opt.together(
    opt.option("--host", str, "H", "default: 127.0.0.1, this machine only", default="127.0.0.1"),
    opt.option("--port", opt.positive, "P", "default: STREAMLIT_SERVER_PORT, else 8501"),
    opt.option("--base-path", str, "PATH", "below which it answers; default: STREAMLIT_SERVER_BASE_URL_PATH"),
    opt.flag("--no-browser", "do not open a browser window"),
    opt.option("--dataset", str, "DATASET", "where the run's images are, if moved or made elsewhere"),
    opt.option("--roles", opt.file, "FILE", "with a login: who may see, decide, export; or LOSSPRINT_ROLES"),
    opt.option("--secrets", opt.file, "FILE", "the login; default: .streamlit/secrets.toml, if there is one"),
    opt.option("--host-name", str, "NAME", "with --insecure: by which name a proxy before the server is reached"),
    opt.flag("--insecure", "no login, even where others can reach the server"),
)


@click.command("demo", cls=Command)
@opt.flag("--video", "made-up videos with planted errors instead, in RUN-frames")
@opt.out("RUN", "default: lossprint-demo, with --video lossprint-video", type=opt.run_folder, required=False)
@opt.flag("--no-app", "only audit")
@output.both
@_server
def demo(video: bool, out: Path | None, no_app: bool, as_json: bool, fail_on: tuple, **server) -> int:
    """Audit the embedded dataset, then open the app on it."""
    out = out or Path("lossprint-video" if video else "lossprint-demo")
    if not no_app:  # what would refuse to start is said before the training, not after it
        status = subprocess.run([*_server_command(out, **server), "--check"]).returncode
        if status:
            return status
    from lossprint.audit.workflow.demo import audit_demo, audit_video_demo

    run = (audit_video_demo if video else audit_demo)(out)
    status = output.finish(run, summary(run), as_json, fail_on)
    return status if no_app or status else _serve(run.path, **server)


@click.command("app", cls=Command)
@click.argument("run", type=opt.run_folder, metavar="RUN_OR_FOLDER")
@_server
def app(run: Path, **server) -> int:
    """Open the dashboard on a run or a folder of runs."""
    if (run / "run.json").is_file():
        open_run(run)  # one that cannot be shown is refused here, not in the browser
    elif not list_runs(run):
        output.tell(f"no run in {run} yet: the page audits a dataset that lies in it")
    return _serve(run, **server)


def _server_command(path: Path, host: str, no_browser: bool, insecure: bool, **others) -> list[str]:
    command = [sys.executable, "-m", "lossprint.app.serve", str(path), "--host", host]
    command += ["--no-browser"] * no_browser + ["--insecure"] * insecure
    for name, value in others.items():
        command += [f"--{name.replace('_', '-')}", str(value)] * (value is not None)
    return command


def _serve(path: Path, **server) -> int:
    command = _server_command(path, **server)
    # A program of its own: the workflow never imports the app, and the server starts without torch in memory. It takes
    # this process's place, so that whoever ends `lossprint app` ends the server.
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    try:
        return subprocess.call(command)
    except KeyboardInterrupt:
        return 0
