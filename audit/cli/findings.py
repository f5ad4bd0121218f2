"""`lossprint findings`: what was found. `lossprint more`: samples to ask about next, after a few.

`lossprint check`: does a batch of new images belong to the data of a run? `lossprint exposure`: what a model trained on
it gives away. `lossprint memorization`: what is known of a sample only because it was there.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
import pandas as pd
from click import Choice

from lossprint.audit.check.looked_for import KINDS as LOOKED_FOR
from lossprint.audit.cli import options as opt
from lossprint.audit.cli import output
from lossprint.audit.cli.command import Command
from lossprint.audit.findings import limits, unjudged
from lossprint.audit.findings.table import findings_of
from lossprint.audit.recording.moved import opened as opened_at
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import KINDS, LossprintError

SHOWN = ("kind", "rank", "severity", "sample", "label", "suggested_label", "path")
NAMES = (*LOOKED_FOR, "unmeasured")
EXPOSED = ("exposure", "final_loss", "learnt")
LIMITS = "exit status 3 where more images are, such as 'leak>0,foreign>2%,unmeasured>0'"


@click.command("findings", cls=Command)
@opt.run
@opt.option("--kind", Choice(KINDS), "KIND ...", f"of {', '.join(KINDS)}; default: all", multiple=True)
@opt.option("--top", opt.positive, "N", "the N most severe of each kind; default: all")
@opt.flag("--open undecided", "only those that no reviewer has decided on")
@output.both
def findings(run: Path, kind: tuple[str, ...], top: int | None, undecided: bool, as_json: bool, fail_on: tuple) -> int:
    """What was found, most severe first."""
    opened = open_run(run)
    table = findings_of(opened)
    if undecided:
        table = _undecided(opened, table)
    counts = table.drop_duplicates(["kind", "group"])["kind"].value_counts()
    found = {one: int(counts.get(one, 0)) for one in KINDS}
    over = limits.broken(opened, fail_on, found)
    table = table[table["kind"].isin(kind or KINDS)]
    if top is not None:
        order = table.groupby("kind", sort=False)["group"].transform(lambda groups: pd.factorize(groups)[0])
        table = table[order < top]
    shown = table[list(SHOWN)].assign(severity=table["severity"].map("{:.3f}".format))
    shown = shown.astype(object).where(shown.notna(), "")
    words = [output.columns(shown) if len(table) else "no findings", *unjudged.sentences(opened)]
    result = {"run": opened.path.absolute(), "rows": table, "findings": found}
    result["unjudged"] = opened.manifest["facts"].get("find", {}).get("unjudged")
    output.show("\n".join(words), result | output.failed(over, fail_on), as_json)
    return output.status(over)


def _undecided(run, table: pd.DataFrame) -> pd.DataFrame:
    from lossprint.audit.review.reviews import open_reviews

    with open_reviews(run) as reviews:
        history = reviews.history()
    return table[~table["group"].isin(history.loc[history["stands"], "finding"])]


@click.command("more", cls=Command)
@opt.run
@opt.option("--confusion", (str, str), "GIVEN CORRECTED", "more samples labelled GIVEN that look like CORRECTED")
@opt.option("--like", opt.samples, "A,B,...", "more that look like these samples, by their numbers")
@opt.option("--unlike", opt.samples, "C,D,...", "with --like: and not like these, which are fine", default=())
@opt.option("--number", opt.positive, "N", "how many; default: 50", default=50)
@opt.out("FILE.csv|FILE.parquet", "write them there as well: rank,sample,path,label,value", required=False)
@output.as_json
def more(run: Path, confusion, like, unlike, number: int, out: Path | None, as_json: bool) -> None:
    """More samples of one confusion, or that look like a few."""
    if (confusion is None) == (like is None):
        raise click.UsageError(f"expected one of --confusion and --like, found {'none' if like is None else 'both'}")
    if unlike and like is None:
        raise click.UsageError("expected --unlike beside --like, found it beside --confusion")
    from lossprint.audit.export import outfile
    from lossprint.audit.findings import more as ranking

    opened = open_run(run)
    if like is None:
        given, corrected = confusion
        table = ranking.of_confusion(opened, given, corrected, number=number)
        about = f"Labelled {given}, most like {corrected} first; value: log-odds, above 0 {corrected} fits better."
    else:
        table = ranking.like(opened, like, unlike, number=number)
        about = "Most like the chosen samples first; value: likeness, at most 1."
    if out is not None:
        outfile.save(opened, table, out)
        about += f" Written to {out}."
    shown = table.assign(value=table["value"].map("{:.2f}".format))
    result = {"run": opened.path.absolute(), "rows": table, "out": out}
    output.show(f"{about}\n{output.columns(shown) if len(table) else 'none is left'}", result, as_json)


@click.command("check", cls=Command)
@click.argument("new", metavar="NEW", help="a folder of images, labelled or not, or a DATASET")
@opt.option("--run", opt.run_folder, "RUN", "whose data it is to belong to", required=True)
@opt.option("--features", opt.file, "FILE", "of NEW, where those of RUN were made elsewhere (npy, npz, Parquet)")
@opt.option("--name", str, "NAME", "of the result in RUN/checks; default: that of NEW")
@opt.option("--html", opt.file, "FILE.html", "write what was found with pictures, one file")
@opt.out("FILE.csv|FILE.parquet", "write a row an image", required=False)
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

    whole = opened_at(run, dataset)
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
    lines.append(f"see it: lossprint app {whole.path}, page New batches")
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


@click.command("exposure", cls=Command)
@opt.run
@opt.option("--top", opt.positive, "N", "how many to show; default: 20", default=20)
@opt.out("FILE.csv", "write every training sample there as well, the most exposed first", required=False)
@output.as_json
def exposure(run: Path, top: int, out: Path | None, as_json: bool) -> None:
    """Which training samples would a model trained so give away?"""
    from lossprint.audit.export import outfile
    from lossprint.audit.memorized import exposure as measuring

    opened = open_run(run)
    exposed = measuring.measure(opened)
    named = opened.samples(columns=["sample", "path", "label"])
    table = exposed.table.merge(named, on="sample", how="left")[["rank", "sample", "path", "label", *EXPOSED]]
    if out is not None:
        outfile.save(opened, table, out)
    rows = table[table["rank"] > 0].head(top)
    lines = [*exposed.notes, *measuring.sentences(exposed)]
    if len(rows):
        shown = rows.assign(**{name: rows[name].map("{:.3f}".format) for name in EXPOSED[:2]})
        lines.append(output.columns(shown.assign(learnt=rows["learnt"].map({True: "yes", False: "no"}))))
    lines.append(f"see it: lossprint app {opened.path}, page Exposure")
    result = {"run": opened.path.absolute(), "rows": rows, "samples": len(table), "checkpoints": exposed.checkpoints}
    attack = None if exposed.attack is None else asdict(exposed.attack)
    output.show("\n".join(lines), result | {"attack": attack, "out": out, "notes": exposed.notes}, as_json)


@click.command("memorization", cls=Command)
@opt.run
@opt.option(
    "--trainings", opt.positive, "T", "heads on random parts, of pretrained features; default: 102", default=102
)
@opt.option("--top", opt.positive, "N", "how many to show; default: 20", default=20)
@opt.out("FILE.csv", "write every training sample there as well, the most memorized first", required=False)
@opt.quiet
@output.as_json
def memorization(run: Path, trainings: int, top: int, out: Path | None, quiet: bool, as_json: bool) -> None:
    """What is known of a sample only because it was trained on, with its error."""
    from tqdm import tqdm

    from lossprint.audit.export import outfile
    from lossprint.audit.memorized import memorization as measuring
    from lossprint.audit.system.progress import bar_style

    opened = open_run(run)
    style = {"unit": "round", "desc": "memorization", "disable": quiet or as_json, "delay": 1, **bar_style()}
    with tqdm(**style) as bar:
        memorized = measuring.measure(opened, trainings, bar.update)
    named = opened.samples(columns=["sample", "path", "label"])
    table = memorized.table.merge(named, on="sample", how="left")
    table = table[["sample", "path", "label", "memorization", "error", "distance", "inside", "outside"]]
    if out is not None:
        outfile.save(opened, table, out)
    rows, sure = table.head(top), int(measuring.clear(table).sum())
    shown = rows.assign(**{name: rows[name].map("{:.3f}".format) for name in ("memorization", "error", "distance")})
    lines = [*memorized.notes, output.columns(shown)]
    lines.append(f"{sure:,} of {len(table):,} training samples are memorized for sure, by {measuring.CLEAR:g} or more")
    result = {"run": opened.path.absolute(), "rows": rows, "samples": len(table), "trainings": memorized.trainings}
    result |= {"heads": memorized.heads, "sure": sure, "out": out, "notes": memorized.notes}
    output.show("\n".join(lines), result, as_json)
