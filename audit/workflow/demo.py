"""`lossprint demo`: audits of data that come with the package or are made up."""

import importlib.resources
import secrets
import shutil
from pathlib import Path

from lossprint.audit.runs.run import Run
from lossprint.audit.workflow.audit import audit


def audit_demo(out: str | Path, quiet: bool = False) -> Run:
    """Audit the embedded demo dataset; a run that is there already is continued, or used as it is."""
    demo = importlib.resources.files("lossprint.assets") / "demo" / "labels.csv"
    return audit(str(demo), out, model="small", resume=True, quiet=quiet)


def audit_video_demo(
    out: str | Path, quiet: bool = False, *, sequences: int = 24, length: int = 200, epochs: int | None = None
) -> Run:
    """Audit made-up videos with planted errors; a run that is there already is continued, or used as it is.

    `sequences` videos of about `length` frames each, and their manifest, are made in OUT-frames, beside the run.
    """
    from lossprint.audit.workflow.demo_videos import make_videos

    out = Path(out)
    videos = out.absolute().with_name(f"{out.absolute().name}-frames")
    if not (out / "run.json").exists() and not videos.exists():
        part = videos.with_name(f".{videos.name}.{secrets.token_hex(4)}.unfinished")
        try:
            make_videos(part, sequences=sequences, length=length)
            part.rename(videos)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return audit(str(videos / "labels.csv"), out, model="small", epochs=epochs, resume=True, quiet=quiet)
