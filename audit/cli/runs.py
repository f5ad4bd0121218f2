"""`lossprint runs`: the run folders of a folder listed, renamed, described, put away, deleted."""

import sys
from pathlib import Path

import click

from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Group
from lossprint.audit.types import LossprintError


@click.group("runs", cls=Group)
def runs() -> None:
    """List, rename, describe, put away and delete run folders."""


@runs.command("list")
@click.argument("folder", type=opt.run_folder, metavar="FOLDER", help="a folder of runs, or a RUN")
@opt.flag("--archived", "those that were put away")
@output.as_json
def list_them(folder: Path, archived: bool, as_json: bool) -> None:
    """The runs of a folder, newest first."""
    from lossprint.audit.workflow import shelf

    table = shelf.listed(folder, archived)
    told = [" ".join(text.split())[:60] for text in table["description"]]
    shown = table.drop(columns=["path", "description"]).assign(description=told).astype(object)
    shown = shown.where(shown.notna(), "")
    text = output.columns(shown) if len(table) else f"no runs in {folder}"
    output.show(text, {"folder": folder.absolute(), "rows": table}, as_json)


@runs.command("rename")
@opt.run
@click.argument("name", metavar="NAME")
@output.as_json
def rename(run: Path, name: str, as_json: bool) -> None:
    """Give a run folder another name."""
    from lossprint.audit.workflow import shelf

    _moved(shelf.rename(run, name), as_json)


@runs.command("describe")
@opt.run
@click.argument("text", metavar="TEXT", help="a line or a few; an empty text takes it away")
@output.as_json
def describe(run: Path, text: str, as_json: bool) -> None:
    """Say what a run is about, in the run list and on its first page."""
    from lossprint.audit.runs import beside
    from lossprint.audit.runs.open import open_run

    beside.describe(open_run(run, need=None), text)
    output.show(f"described: {run}", {"run": run.absolute(), "description": text.strip()}, as_json)


@runs.command("archive")
@opt.run
@opt.flag("--back", "take it out again")
@output.as_json
def archive(run: Path, back: bool, as_json: bool) -> None:
    """Put a run into archive/ beside it, which the dashboard does not list."""
    from lossprint.audit.workflow import shelf

    _moved(shelf.put_back(run) if back else shelf.put_away(run), as_json)


@runs.command("delete")
@opt.run
@opt.flag("--yes", "do not ask")
@output.as_json
def delete(run: Path, yes: bool, as_json: bool) -> None:
    """Remove a run folder and its decisions; the dataset stays."""
    from lossprint.audit.workflow import shelf

    count = shelf.decisions(run)
    if not yes:
        _ask_twice(run, count)
    shelf.delete(run)
    output.show(f"deleted: {run}", {"run": run.absolute(), "decisions": count}, as_json)


def _ask_twice(run: Path, decisions: int) -> None:
    """Raise LossprintError unless whoever sits there says yes, and then the run's name."""
    if not sys.stdin.isatty():
        raise LossprintError(f"expected --yes to delete {run} where nobody can be asked, found none")
    with_them = f" with {decisions:,} decisions" if decisions else ""
    first = click.prompt(f"delete {run}{with_them}? yes or no", default="no", err=True)
    if first.strip().lower() != "yes":
        raise LossprintError(f"expected yes to delete {run}, found {first!r}: it is left as it is")
    name = run.resolve().name
    second = click.prompt(f"its name once more, to be sure ({name})", default="", show_default=False, err=True)
    if second.strip() != name:
        raise LossprintError(f"expected the name {name} to delete {run}, found {second!r}: it is left as it is")


def _moved(place: Path, as_json: bool) -> None:
    output.show(f"it is at {place} now", {"run": place}, as_json)
