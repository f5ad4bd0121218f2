"""`lossprint check`: does a batch of new images belong to the data of a run?"""

from functools import partial
from pathlib import Path

import click
from click import Choice

from lossprint.audit.check.looked_for import KINDS
from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command
from lossprint.audit.recording.moved import opened
from lossprint.audit.types import LossprintError

NAMES = (*KINDS, "unmeasured")
LIMITS = "exit status 3 where more images are, such as 'leak>0,foreign>2%,unmeasured>0'"


@click.command("check", cls=Command)
@click.argument("new", metavar="NEW", help="a folder of images, labelled or not, or a DATASET")
@opt.option("--run", opt.run_folder, "RUN", "whose data it is to belong to", required=True)
@opt.option("--features", opt.file, "FILE", "of NEW, where those of RUN were made elsewhere (npy, npz, Parquet)")
@opt.option("--name", str, "NAME", "of the result in RUN/checks; default: that of NEW")
@opt.option("--html", opt.file, "FILE.html", "write what was found with pictures, one file")
@opt.out("FILE.csv", "write a row an image", required=False)
@opt.option("--device", Choice(opt.DEVICES), None, default="auto")
@opt.placed
@opt.quiet
@output.as_json
@opt.option("--fail-on", output.Limits(NAMES), "LIMITS", LIMITS, default=())
def check(
    new: str,
    run: Path,
    features: Path | None,
    name: str | None,
    html: Path | None,
    out: Path | None,
    device: str,
    dataset: str | None,
    quiet: bool,
    as_json: bool,
    fail_on: tuple,
) -> int:
    """Does a batch of new images belong to the data of a run? Nothing is trained on it."""
    from lossprint.audit.check import check as checking
    from lossprint.audit.check import over, page, words
    from lossprint.audit.export import outfile

    whole = opened(run, dataset)
    for file, endings, mark in ((html, (".html", ".htm"), page.MARK), (out, (".csv", ".parquet"), "image,path,label,")):
        if file is not None:
            outfile.refuse(whole, file, endings, partial(_starts, mark))
            _refuse_new(new, file)
    how = {"features": None if features is None else str(features), "device": device, "title": name, "quiet": quiet}
    found = checking.check(whole, new, **how)
    if out is not None:
        outfile.save(whole, found.samples.drop(columns="card"), out)
    if html is not None:
        outfile.write(html, page.html(found.result, found.samples))
    broken = over.broken(found.result, fail_on)
    lines = [*found.result["notes"], *words.sentences(found.result)]
    lines.append(f"see it: lossprint app {whole.path}, page Batches")
    result = found.result | {"html": html, "out": out, "sentences": words.sentences(found.result)}
    output.show("\n".join(lines), result | output.failed(broken, fail_on), as_json)
    return output.status(broken)


def _starts(mark: str, file: Path) -> bool:
    with open(file, "rb") as content:
        return content.read(len(mark)) == mark.encode()


def _refuse_new(new: str, file: Path) -> None:
    """Raise LossprintError where a file would be written over the batch, or among its images."""
    place = Path(new).expanduser().resolve()
    if place == file.resolve() or (place.is_dir() and file.resolve().is_relative_to(place)):
        raise LossprintError(f"expected a file outside the batch {new}, found {file}")
