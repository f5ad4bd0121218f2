"""What of a run that was begun may not be asked otherwise when it goes on."""

from pathlib import Path

from lossprint.audit.types import LossprintError


def begun(out: Path) -> LossprintError:
    """The fault that a run is there already."""
    return LossprintError(
        f"expected a new folder for the run, found a run at {out}: add --resume to continue it, or choose another --out"
    )


def refuse_changed(out: Path, before: dict, given: dict, options: dict[str, str] | None = None) -> None:
    """Raise LossprintError where what is asked now is not what the run was begun with; None asks for nothing.

    `options` has what an option is called where that is not its name in `asked`.
    """
    for name, value in given.items():
        if value is not None and value != before.get(name):
            option = (options or {}).get(name, f"--{name.replace('_', '-')}")
            raise LossprintError(
                f"expected {option} {before.get(name)}, with which {out} was begun, found {value}: resume with the "
                "same, or choose another --out"
            )
