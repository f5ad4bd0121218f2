"""The sections of a report that frame it: the summary, what was audited and how, its limits, how to do it again."""

import math
import shlex
from pathlib import Path

from lossprint.audit.report.decided import outcome
from lossprint.audit.report.facts import Facts, digest
from lossprint.audit.report.found import MANY, TEXTS, looked_for
from lossprint.audit.report.html import (
    NBSP,
    SPLITS,
    bullets,
    command,
    day,
    facts,
    listed,
    moment,
    name,
    p,
    path,
    percent,
    plural,
    prose,
    section,
    table,
    text,
)
from lossprint.audit.report.left import span
from lossprint.audit.review import span_counts
from lossprint.audit.review.queues import SPANS
from lossprint.audit.runs.open import record_command, version
from lossprint.audit.scores import SCORES
from lossprint.audit.types import KINDS

CLASSES = 60  # rows of the table of classes
FAULTS = 20  # images that could not be read
RECORDED = {
    "eval": "after each epoch, of every image, without augmentation",
    "by-product": "of the training batches themselves, with augmentation",
    "imported": "outside Lossprint, and imported",
}
OPTIONS = ("model", "epochs", "seed", "curvature_checkpoints", "val_fraction", "seeds", "folds")


def dataset_name(of: Facts) -> str:
    """The last two parts of the dataset's path, as plain text."""
    source = str(of.run.manifest["dataset"].get("source") or "")
    if source.startswith("torchvision:"):
        return source.split(":")[1]
    return "/".join(Path(source).parts[-2:]).lstrip("/") or of.run.name


def head(of: Facts) -> str:
    what = "a video dataset" if of.only_frames else of.media.worded("an image dataset")
    return (
        f"<h1>Audit report: {name(dataset_name(of), 120)}</h1>"
        f'<p class="lead">An audit of the labels of {what} with Lossprint {text(version(), 30)}, as of '
        f"{day(of.date)}.</p>"
    )


# ------------------------------------------------------------------------------------------------- summary


def summary(of: Facts) -> str:
    """Five lines: what was audited, found, decided, how sure it is, and what is left."""
    lines = [
        ("Audited", _audited(of)),
        ("Found", _found(of)),
        ("Decided", "Nothing has been decided yet." if of.standing.empty else outcome(of)),
        ("How sure", _sure(of)),
        ("Errors left", _left(of)),
    ]
    rows = "".join(f"<dt>{title}</dt><dd>{said}</dd>" for title, said in lines)
    return f'<section class="summary" aria-labelledby="summary"><h2 id="summary">In short</h2><dl>{rows}</dl></section>'


def _audited(of: Facts) -> str:
    sizes = of.counts.sum()
    train = plural(int(sizes.get("train", 0)), f"training {of.noun}")
    rest = [
        f"{sizes[split]:,} for {words}"
        for split, words in (("val", "validation"), ("test", "testing"))
        if split in sizes
    ]
    beside = f", and {' and '.join(rest)}" if rest else ""
    if of.sequences:
        beside += f", frames of {plural(of.sequences, 'video')}"
    lost = f"; {plural(len(of.unreadable), of.noun)} could not be read" if len(of.unreadable) else ""
    return f"{train} of {plural(len(of.run.classes), 'class', 'classes')}{beside}{lost}."


def _found(of: Facts) -> str:
    said = []
    for kind in KINDS:
        row = of.progress[of.progress["kind"] == kind]
        if len(row):
            said.append(plural(int(row["of"].iloc[0]), TEXTS[kind][1], MANY.get(kind, "")))
    return f"{listed(said, 6)}." if said else "Nothing was flagged."


def _sure(of: Facts) -> str:
    stop, agree, counts = of.stop, of.agreement, span_counts.counts(of.spans, of.outcomes)
    said = [prose(one) for one in span_counts.sentences(counts)] if counts["answered"].any() else []
    if stop.answered:
        ends = (
            f"with a 90{NBSP}% interval from {100 * stop.precision.low:.0f} to {100 * stop.precision.high:.0f}{NBSP}%"
        )
        said.append(
            f"Of {plural(stop.answered, 'reviewed label')} that had been flagged, {stop.errors or 'none'} "
            f"{'was' if stop.errors == 1 else 'were'} wrong: {percent(stop.errors / stop.answered)}, {ends}."
        )
    if len(agree.samples):
        alpha = "" if math.isnan(agree.alpha.value) else f" (Krippendorff’s alpha {agree.alpha.value:.2f})"
        were = "was" if len(agree.samples) == 1 else "were"
        said.append(
            f"{plural(len(agree.samples), of.noun)} {were} answered by two or more reviewers, who "
            f"gave the same answer in {percent(agree.raw.value)} of the comparisons{alpha}."
        )
    elif len(of.reviewers) == 1:
        said.append("One reviewer only, so that agreement cannot be told.")
    elif of.reviewers:
        said.append(f"No {of.noun} was answered by two reviewers, so that agreement cannot be told.")
    return " ".join(said) or "Nothing has been checked by a person."


def _left(of: Facts) -> str:
    stop = of.stop
    if stop.left is not None:
        said = span(stop.left, "90 % interval ")
        return f"{said[0].upper()}{said[1:]} in the training {of.noun}s that were not reviewed."
    if of.only_frames and not stop.flagged:
        return _left_in_videos(of)
    parts = []
    if stop.flagged and stop.answered == stop.flagged:
        parts.append("none among the flagged labels, all of which were reviewed")
    elif stop.queue_left is not None and stop.flagged:
        parts.append(f"{span(stop.queue_left)} among the flagged labels that were not reviewed")
    if stop.rest_left is not None:
        parts.append(f"{span(stop.rest_left)} among the {of.noun}s that nothing flagged")
    if not parts:
        return f"Not known: too few {of.noun}s were reviewed, and too few checked at random."
    which = f"the {of.noun}s that nothing flagged" if stop.rest_left is None else "the flagged labels"
    known = " and ".join(parts)
    return f"{known[0].upper()}{known[1:]}. How many there are among {which} is not known."


def _left_in_videos(of: Facts) -> str:
    open_ones, rest = len(of.spans) - int(of.outcomes["choice"].isin(("error", "right")).sum()), of.stop.rest_left
    of_all = f"of the {plural(len(of.spans), 'segment')} of video that were flagged"
    said = f"{open_ones:,} {of_all} {'is' if open_ones == 1 else 'are'} not settled"
    said = said if open_ones else f"None {of_all} is open"
    if rest is None:
        return f"{said}. How many errors there are in frames that nothing flagged is not known."
    return f"{said}; {span(rest, '90 % interval ')} wrong labels among the frames that nothing flagged."


# ------------------------------------------------------------------------------------------------- what and how


def audited(of: Facts) -> str:
    """The section on the dataset: where it is from, counts by split and class, unreadable images."""
    about = of.run.manifest["dataset"]
    kinds = {"folder": "folders, one a class", "manifest": f"a list of {of.noun}s with labels", "coco": "a COCO file"}
    kinds |= {"huggingface": "a Hugging Face dataset", "webdataset": "WebDataset shards"}
    kind = str(about.get("kind") or "")
    return section(
        "audited",
        "What was audited",
        facts(
            [
                ("Dataset", path(about.get("source") or "not known", 160)),
                ("Given as", kinds.get(kind, text(kind, 40))),
                ("Classes", f"{len(of.run.classes):,}"),
                ("Videos", f"{of.sequences:,}" if of.sequences else ""),
                ("Fingerprint of paths and labels", path(str(about.get("fingerprint") or "none"), 80)),
            ]
        ),
        p(*(text(note, 400) for note in about.get("notes") or ())),
        _classes(of),
        _unreadable(of),
    )


def _classes(of: Facts) -> str:
    counts = of.counts
    order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    counts = counts.loc[order]
    lines = [
        [name(label), *(f"{count:,}" for count in row), f"{sum(row):,}"]
        for label, row in zip(counts.index, counts.head(CLASSES).to_numpy().tolist())
    ]
    rest = counts.iloc[CLASSES:].sum().tolist()
    if len(counts) > CLASSES:
        words = f"{len(counts) - CLASSES:,} further classes"
        lines.append([words, *(f"{count:,}" for count in rest), f"{sum(rest):,}"])
    total = counts.sum().tolist()
    lines.append(["All", *(f"{count:,}" for count in total), f"{sum(total):,}"])
    titles = [f">{SPLITS[split].capitalize()}" for split in counts]
    return table(
        f"{of.noun.capitalize()}s by class and part of the dataset, as labelled",
        ["Class", *titles, ">All"],
        lines,
        "total",
    )


def _unreadable(of: Facts) -> str:
    lost = of.unreadable
    if lost.empty:
        return p(f"Every {of.noun} could be read.")
    lines = [[path(row.path), text(row.reason, 200)] for row in lost.head(FAULTS).itertuples()]
    more = f"and {len(lost) - FAULTS:,} more, in unreadable.parquet of the run." if len(lost) > FAULTS else ""
    were, one = "was" if len(lost) == 1 else "were", of.noun.capitalize()
    said = p(f"{plural(len(lost), of.noun)} could not be read and {were} left out of everything below.")
    return said + table(f"{one}s that could not be read", [one, "Reason"], lines) + p(more, kind="note")


def how(of: Facts) -> str:
    """The section on the training that was watched and the scores that it gave."""
    manifest = of.run.manifest
    asked, record = manifest["asked"], manifest["facts"].get("record") or {}
    curvature = manifest["facts"].get("curvature") or {}
    measured = curvature.get("checkpoints")
    checkpoints = len(of.run.recorded("train"))
    size = record.get("size")
    further = [
        plural(int(asked.get(key) or 0) - less, words)
        for key, words, less in (("seeds", "further training with another seed", 1), ("folds", "fold", 0))
        if int(asked.get(key) or 0) > 1
    ]
    seed = None if manifest.get("recording") == "imported" else manifest.get("seed")
    return section(
        "how",
        "How it was audited",
        p(
            f"A neural network was trained on the {of.noun}s with the labels that they have. All along, its "
            f"<i>loss</i> on every {of.noun} was written down: how surprised it was by the given label. Clear "
            f"{of.noun}s are learned early, hard ones late, and wrongly labelled ones hardly ever, or only by heart. "
            f"{of.noun.capitalize()}s are ranked by this; what a label ought to be is for people to decide. Copies are "
            f"found by comparing the {of.media.content} themselves."
        ),
        _over_time(of),
        facts(
            [
                ("Losses recorded", of.media.worded(RECORDED.get(manifest.get("recording"), "in an unknown way"))),
                ("Checkpoints", f"{checkpoints:,}"),
                ("Network", text(asked["model"], 60) if asked.get("model") else "the user’s own"),
                ("Epochs", text(asked["epochs"], 20) if asked.get("epochs") else ""),
                ("Seed", "" if seed is None else text(seed, 20)),
                ("Further trainings", ", ".join(further)),
                ("Image size for the network", f"{text(size, 10)} × {text(size, 10)} pixels" if size else ""),
                ("Device", text(record["device"], 40) if record.get("device") else ""),
                ("Curvature", f"at {len(measured):,} checkpoints" if isinstance(measured, list) and measured else ""),
                (f"Accuracy on validation {of.noun}s", "" if of.accuracy is None else percent(of.accuracy)),
                ("Audited on", day(manifest.get("created"))),
                ("Lossprint", text(manifest.get("lossprint") or "?", 30)),
            ]
        ),
        _scores(of),
    )


def _over_time(of: Facts) -> str:
    if of.frames is None:
        return ""
    return p(
        "Videos were looked at over time as well. They were dealt into folds; for each, a network of single frames and "
        "then a model over time were trained on the other videos and judged the videos of the fold, so that no video "
        "was judged by what had learned its labels. Wrong labels are looked for in stretches of frames, not in single "
        "ones; blocks that were moved in time are found by the order of phases and by the frames where they meet."
    )


def _scores(of: Facts) -> str:
    """The scores that findings rest on, and the others; a sentence each."""
    lines = []
    for one in of.scores:
        info = SCORES[one]
        uses = {"label_error": "label_error"} if not of.only_frames else {}
        uses |= {"outlier": "outlier"} | {kind: kind for kind in SPANS}
        use = TEXTS[uses[one]][0].lower() if one in uses else ""
        title = f"<b>{info.title}</b>: {use}" if use else info.title
        lines.append([title, _sentence(info.meaning), _sentence(info.caution)])
    lines.sort(key=lambda line: not line[0].startswith("<b>"))
    if not lines:
        return ""
    return table(
        "Scores of this run; those in bold make findings",
        ["Score", "What it says", "When not to trust it"],
        lines,
        "words",
    )


def _sentence(words: str) -> str:
    """The first sentence; texts of ours."""
    return text(words.partition(". ")[0].rstrip(".") + ".", 300)


# ------------------------------------------------------------------------------------------------- limits


def limits(of: Facts) -> str:
    """The section on what this audit cannot tell, in plain words."""
    stop = of.stop
    said = [
        "<b>Errors that the network learned are invisible to it.</b> Where the same mistake was made again and again, "
        "such as one class that was always called by the name of another, the network learns the mistake and is not "
        "surprised by it. Random checks find such errors; the ranking does not.",
        f"<b>A flag is no verdict.</b> Rare, poor or untypical {of.noun}s are flagged like wrong labels. What is an "
        "error was decided by the reviewers alone, and they can err as well: the intervals take them at their word.",
    ]
    if not of.standing.empty:
        blind = int((of.standing["blind"] != "").sum())
        share = "none" if not blind else f"{blind:,}"
        said.append(
            f"<b>Reviewers saw what was suggested</b>, which may have swayed them; of {len(of.standing):,} decisions "
            f"{share} {'was' if blind == 1 else 'were'} made with the label or the suggestion hidden."
        )
    held = [f"{SPLITS[split]}" for split in ("val", "test") if split in of.counts]
    if of.frames is not None:
        said.append(
            "<b>Errors that most videos share, and short ones, are invisible over time.</b> A model over time learns "
            "what most videos do. Frames shuffled within a phase and stretches of a few frames are not found, and an "
            "order that is rare but right looks like a wrong one. Where a phase ends is often a matter of definition."
        )
    if held and not of.only_frames:
        parts = " and ".join(held)
        said.append(
            f"<b>Only training {of.noun}s were ranked.</b> The labels of the {parts} {of.noun}s were trusted and not "
            "checked, except where they are copies of others."
        )
    unseen = _unaudited(of)
    if unseen:
        said.append(unseen)
    if stop.rest_left is None and stop.rest:
        said.append(
            f"<b>How many errors the ranking missed is not known</b>, because too few {of.noun}s were checked at "
            "random."
        )
    few = (of.run.manifest["facts"].get("score") or {}).get("few_validation") or {}
    if few:
        names = listed([name(one, 40) for one in few], 6)
        said.append(f"<b>Few validation {of.noun}s</b> (under 10) make scores noisy in these classes: {names}.")
    if of.run.has_duplicates():
        said.append(f"<b>Not every copy is found.</b> {of.media.missed}")
    said.append(
        f"<b>The {of.noun}s are the only evidence.</b> What is not in them, such as a history, a pathology report or "
        "who belongs to which group, was not looked at; neither was whether the dataset is fit or fair for a purpose."
    )
    return section("limits", "What this audit cannot tell", bullets(said))


def _unaudited(of: Facts) -> str:
    said = []
    able = looked_for(of)
    unable = [TEXTS[kind][0].lower() for kind, can in able.items() if not can]
    if unable:
        said.append(f"{', '.join(unable)} (not looked for)")
    untouched = [TEXTS[row.kind][0].lower() for row in of.progress.itertuples() if not row.reviewed]
    partly = [
        f"{TEXTS[row.kind][0].lower()} ({row.of - row.reviewed:,} of {row.of:,})"
        for row in of.progress.itertuples()
        if 0 < row.reviewed < row.of
    ]
    if untouched:
        said.append(f"{', '.join(untouched)} (none reviewed)")
    said += partly
    return f"<b>Not audited, or not reviewed to the end:</b> {'; '.join(said)}." if said else ""


# ------------------------------------------------------------------------------------------------- again


def reproduce(of: Facts) -> str:
    """The section on versions, seeds, and the commands by which all of it can be made again."""
    manifest = of.run.manifest
    versions = manifest.get("versions") or {}
    programs = {"lossprint": manifest.get("lossprint") or "?", **versions}
    last = of.history["id"].iloc[-1] if len(of.history) else None
    return section(
        "again",
        "How to do it again",
        p(
            "The dataset itself was not edited. The decisions are kept beside it, never overwritten, and applied on "
            "export; the same run and the same decisions give the same files and this same report."
        ),
        command(audit_command(of)),
        p("The cleaned labels, with the reason beside each change, and the list of changes alone:"),
        command(f"{export_command(of, 'cleaned', 'cleaned.csv')}\n{export_command(of, 'changes', 'changes.csv')}"),
        p(
            "A smaller training set (a <i>coreset</i>) can be chosen from the same scores with "
            "<code>lossprint export coreset</code>. None is part of this report."
        ),
        facts(
            [
                ("Run", path(of.run.name, 80)),
                ("Audit started (UTC)", moment(manifest.get("created")) if manifest.get("created") else ""),
                ("Fingerprint of the dataset", path(str(manifest["dataset"].get("fingerprint") or "none"), 80)),
                (
                    "Decisions",
                    f"{len(of.history):,} rows, the last one is number {last:,}" if last is not None else "none",
                ),
                ("Digest of the decisions (SHA-256)", path(digest(of.history), 80) if last is not None else ""),
                ("Whose decisions hold", text(of.rule_words, 200)),
                ("Seed of the random checks", text(manifest.get("seed") or 0, 20)),
                ("Programs", ", ".join(f"{text(one, 40)} {text(number, 40)}" for one, number in programs.items())),
            ]
        ),
    )


def audit_command(of: Facts) -> str:
    """The command that made the run, as far as it was one."""
    asked, source = of.run.manifest["asked"], str(of.run.manifest["dataset"].get("source") or "DATASET")
    out = f"--out {shlex.quote(of.run.name)}"
    if of.run.manifest.get("recording") == "imported":
        losses = shlex.quote(str(asked.get("losses") or "LOSSES"))
        task = "" if of.run.task == "classes" else f" --task {of.run.task}"
        return f"lossprint import {losses} --dataset {shlex.quote(source)} {out}{task}"
    if "checkpoints" in asked:
        return record_command(asked, of.run.name)
    if "epochs" not in asked:
        return f"# recorded in a training loop of the user's own, then: lossprint score {shlex.quote(of.run.name)}"
    given = [f"--{one.replace('_', '-')} {shlex.quote(str(asked[one]))}" for one in OPTIONS if one in asked]
    return f"lossprint audit {shlex.quote(source)} {out} {' '.join(given)}"


def export_command(of: Facts, what: str, out: str) -> str:
    rule = "" if of.rule == "latest" else f" --apply {shlex.quote(of.rule)}"
    return f"lossprint export {what} {shlex.quote(of.run.name)} --out {out}{rule}"


def compare_command(of: Facts) -> str:
    return f"lossprint audit --from cleaned.csv --out {shlex.quote(of.run.name)}"
