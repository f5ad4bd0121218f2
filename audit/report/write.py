"""The report of a run: one HTML file on what was audited, found and decided, for a data sheet or an ethics file.

It needs no network and no script, and prints well. There is no clock in it: the same run and the same decisions give
the same bytes, and its date is that of the last decision, or of the run where there is none. What it says stands in the
templates beside this file, which escape whatever they are given.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lossprint.audit.comparison import summary
from lossprint.audit.export import outfile
from lossprint.audit.export.tree import dataset_root
from lossprint.audit.findings import doubts, unjudged, views
from lossprint.audit.memorized import exposure
from lossprint.audit.report import svg, tables, voted, words
from lossprint.audit.report.facts import MEMBERS, ROWS, Facts, gather
from lossprint.audit.report.pictures import Pictures
from lossprint.audit.review import span_counts, wrong_labels
from lossprint.audit.review.queues import SPANS
from lossprint.audit.review.reviews import Reviews, open_reviews
from lossprint.audit.review.strata import ENOUGH
from lossprint.audit.runs.open import version
from lossprint.audit.runs.run import Run
from lossprint.audit.types import ALONE, KIND_WORDS, LossprintError
from lossprint.scoring import reviewers

MARK = '<!doctype html>\n<html lang="en">\n<!-- lossprint report -->\n'  # how each report starts
ENDINGS = (".html", ".htm")
CONTENTS = {
    "audited": "What was audited",
    "how": "How it was audited",
    "found": "What was found",
    "decided": "What was decided, and by whom",
    "agreement": "Reviewer agreement",
    "left": "Errors found, and errors left",
    "comparison": "Before and after",
    "votes": "What annotators said",
    "exposure": "What a trained model gives away",
    "limits": "What this audit cannot tell",
    "again": "How to do it again",
    "changes": "Every change",
}
RECORDED = {
    "eval": "after each epoch, of every image, without augmentation",
    "by-product": "of the training batches themselves, with augmentation",
    "imported": "outside Lossprint, and imported",
}
TRIAGE = {
    "wrong": "one other label was ahead steadily",
    "ambiguous": "no single other label was ahead",
    "hard": "no other label was clearly ahead",
}
REASONS = {
    "accept": "Suggestion taken",
    "relabel": "Label chosen by hand",
    "exclude": "Left out",
    "unsure": "Left out as unsure",
}
FILTERS = (
    *(words.text, words.name, words.path, words.given, words.other, words.prose, words.css_string, words.titles),
    *(words.plural, words.verb, words.percent, words.fixed, words.day, words.moment),
)
FUNCTIONS = (
    *(words.listed, words.ends, words.dataset_name, words.errors_left, words.flagged, words.unaudited),
    *(words.audit_command, words.export_command, words.compare_command),
)


def write_report(run: Run, out: str | Path, *, rule: str = "latest", reviews: Reviews | None = None) -> Path:
    """Write the report of a run as FILE.html, whole or not at all; an earlier report there is replaced.

    `rule` says whose decisions hold: one of `resolve.RULES`, or `reviewer:NAME`. Raises LossprintError for an unknown
    rule, a run that is damaged or half written, another kind of file name, and a place in the run folder (but for its
    exports/) or in the dataset: any of its class folders, or a file beside its manifest that is no earlier report.
    """
    out = Path(out)
    refuse(run, out)
    outfile.write(out, report_bytes(run, rule=rule, reviews=reviews))
    return out


def report_bytes(run: Run, *, rule: str = "latest", reviews: Reviews | None = None) -> bytes:
    """The report of a run, as `write_report` writes it."""
    facts = gather(run, reviews or open_reviews(run), rule)
    return _environment().get_template("page.html.j2").render(_context(facts)).encode("utf-8")


def refuse(run: Run, out: Path) -> None:
    """Raise LossprintError where a report must not be written."""

    def earlier(path: Path) -> bool:
        with open(path, "rb") as file:
            return file.read(len(MARK)) == MARK.encode()

    outfile.refuse(run, out, ENDINGS, earlier)
    root = dataset_root(run)
    if root and run.manifest["dataset"].get("kind") == "folder" and out.resolve().is_relative_to(root):
        raise LossprintError(f"expected a file outside the dataset's folder ({root}), found {out}")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=words.printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    environment.globals |= {function.__name__: function for function in FUNCTIONS}
    return environment


def _context(facts: Facts) -> dict:
    """What the templates are given."""
    run, manifest, noun, data = facts.run, facts.run.manifest, facts.noun, facts.comparison
    agreement, about = facts.agreement, wrong_labels.wrong_labels(run, facts.stop)
    summaries = summary.summaries(data) if data is not None else []
    votes, exposed = voted.voted(facts), exposure.kept(run)
    absent = [key for key, about in (("votes", votes), ("exposure", exposed)) if about is None]
    programs = {"lossprint": manifest.get("lossprint") or "?", **(manifest.get("versions") or {})}
    kinds = {"folder": "folders, one a class", "manifest": f"a list of {noun}s with labels", "coco": "a COCO file"}
    return {
        **{"facts": facts, "run": run, "manifest": manifest, "asked": manifest["asked"], "stop": facts.stop},
        **{"noun": noun, "media": facts.media, "worded": facts.media.worded, "tables": tables, "svg": svg},
        "contents": {key: title for key, title in CONTENTS.items() if key not in absent},
        **{"kind_words": KIND_WORDS, "meanings": words.MEANINGS, "splits": words.SPLITS},
        **{"recorded": RECORDED, "triage": TRIAGE, "reasons": REASONS, "single_kinds": ALONE, "span_kinds": SPANS},
        **{"members_shown": MEMBERS, "most": ROWS, "enough": ENOUGH, "version": version()},
        "pictures": _pictures(facts),
        "sizes": facts.counts.sum().astype(int).to_dict(),
        "held": [words.SPLITS[split] for split in ("val", "test") if split in facts.counts],
        "titles_of_splits": [f">{words.SPLITS[split].capitalize()}" for split in facts.counts],
        "kinds_of_dataset": kinds | {"huggingface": "a Hugging Face dataset", "webdataset": "WebDataset shards"},
        "further_trainings": words.further_trainings(facts),
        "programs": [f"{words.text(name, 40)} {words.text(number, 40)}" for name, number in programs.items()],
        "segment_sentences": span_counts.sentences(facts.segment_counts),
        "agreement_sentences": reviewers.words(agreement.raw, agreement.alpha, thing=noun),
        "unjudged": unjudged.sentences(run),
        "doubts": doubts.sentences(run) if "label_error" in facts.kinds else [],
        "views": views.sentences(run),
        "expected": [wrong_labels.sentence(about)] if about is not None else [],
        "voted": votes,
        "exposed": exposed,
        "exposure_sentences": [] if exposed is None else exposure.sentences(exposed),
        "summaries": summaries,
        "comparison_sentences": summary.sentences(data) if summaries else [],
    }


def _pictures(facts: Facts) -> Pictures:
    single = facts.worst["kind"].isin(ALONE)
    groups = facts.worst[~single].groupby(["kind", "rank"], observed=True).head(MEMBERS)
    spans = [span for kind in SPANS for span in facts.worst_spans(kind).itertuples()]
    cards = facts.worst.loc[single, "sample"].tolist() + groups["sample"].tolist()
    cards += [sample for span in spans for sample in facts.strip(span)["sample"].tolist()]
    small = facts.changed.index[~facts.by_segment][:ROWS].tolist()
    paths = facts.samples.loc[sorted({*cards, *small}), "path"].astype(object)
    return Pictures(facts.run, {int(sample): str(path) for sample, path in paths.items()}, cards, small)
