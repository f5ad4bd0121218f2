"""Whether what a run says of the place of its images is to be believed: a run folder may come from a stranger.

A place is believed where it lies in the run folder itself, and where this user, on this machine, named it: when the run
was made (run.json then holds a signature under `place`), with `--dataset`, or by a click in the app. What was
confirmed later stands in a list beside the key, see `keys`. A `Run` that was made and not opened is believed.
"""

import hmac
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lossprint.audit.runs.keys import PLACES, config, confirmed, keep, signature
from lossprint.audit.runs.run import VIDEO_FRAMES, Run
from lossprint.audit.system.urls import REMOTE, protocol_of
from lossprint.audit.types import LossprintError

_named: set[str] = set()  # signatures of what was named to this process


def believed(run: Run) -> bool:
    """Whether the place of the run's images may be read. A run without one has nothing to read."""
    return run.believed or checked(run)


def checked(run: Run) -> bool:
    """What `believed` says of a run that was just opened."""
    about = run.manifest["dataset"]
    places = [about[name] for name in PLACES if about.get(name)]
    if not places or _own(about, places, run.path):
        return True
    own = signature(run.manifest)
    if not own:
        return False
    signed = str(run.manifest.get("place") or "")
    return hmac.compare_digest(signed.encode(), own.encode()) or own in _named or own in confirmed()


def dataset_of(run: Run) -> dict:
    """The `dataset` of run.json, for whoever goes on to read from it. Raises LossprintError where nobody named it."""
    if not believed(run):
        about = run.manifest["dataset"]
        raise LossprintError(
            f"expected images at a place that you named, found {about.get('source') or about.get('root')}, which only "
            f"the run {run.path} names: look at it, then add --dataset PLACE, or confirm it in the app"
        )
    return run.manifest["dataset"]


def name(run: Run) -> Run:
    """Believe the place of a run that was named to this process, and remember it. Returns the run."""
    own = signature(run.manifest)
    if own:
        _named.add(own)
        with suppress(OSError):
            keep(own)
    return replace(run, believed=True)


def confirm(run: Run) -> None:
    """Believe the place of a run from now on. Raises LossprintError for one that only `--dataset` may name."""
    for place in PLACES:
        text = str(run.manifest["dataset"].get(place) or "")
        if "://" in text and protocol_of(text) not in REMOTE:
            known = ", ".join(REMOTE)
            raise LossprintError(f"expected a folder or a URL of {known}, found {text}: name it with --dataset")
    own = signature(run.manifest)
    try:
        if not own:
            raise OSError(None, "no key can be kept there")
        keep(own)
    except OSError as error:
        raise LossprintError(f"expected a folder that can be written at {config()}, found: {error.strerror}") from None
    _named.add(own)


def _own(about: dict, places: list[str], folder: Path) -> bool:
    """Whether the places are those of frames that were decoded into the run folder, whose manifest names no URL."""
    choices = about.get("choices") or {}
    if about.get("kind") != "manifest" or choices.get("follow_links") or choices.get("root"):
        return False
    frames = os.path.join(os.path.realpath(folder), VIDEO_FRAMES)
    if not all(os.path.isabs(place) and os.path.realpath(place) == _plain(place, folder) for place in places):
        return False
    if not all(Path(os.path.realpath(place)).is_relative_to(frames) for place in places):
        return False
    try:
        return all(b"://" not in Path(place).read_bytes() for place in places if os.path.isfile(place))
    except OSError:
        return False


def _plain(place: str, folder: Path) -> str:
    """A place below the run folder, of which nothing below may be a link."""
    return os.path.join(os.path.realpath(folder), os.path.relpath(os.path.normpath(place), os.path.abspath(folder)))
