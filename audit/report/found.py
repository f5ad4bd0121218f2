"""The section of a report that says what was found, with the most severe of each kind as pictures."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from lossprint.audit.report import spans
from lossprint.audit.report.facts import MEMBERS, Facts
from lossprint.audit.report.html import NBSP, SPLITS, name, p, path, plural, section, table, text
from lossprint.audit.report.pictures import Pictures
from lossprint.audit.report.svg import loss_print
from lossprint.audit.review.queues import SPANS
from lossprint.audit.types import KINDS

# title, one of it, what it means
TEXTS = {
    "label_error": (
        "Doubtful labels",
        "doubtful label",
        "While it learned, the network kept preferring another label to the given one. That is a reason to look, not a "
        "proof: some of these images are only hard to tell.",
    ),
    "duplicate": (
        "Exact duplicates",
        "group of exact duplicates",
        "The same pixels are in the dataset more than once. Where the labels differ, at least one is wrong; where "
        "copies lie in the training and the test part, results look better than they are.",
    ),
    "near_duplicate": (
        "Near duplicates",
        "group of near duplicates",
        "Almost the same image, such as shifted, mirrored, resized or compressed, is in the dataset more than once.",
    ),
    "sequence_label": (
        spans.TITLES["sequence_label"],
        "mislabeled segment",
        "Stretches of a video in which another label was ahead of the given one, by a model over time that was trained "
        "on the other videos only.",
    ),
    "sequence_order": (
        spans.TITLES["sequence_order"],
        "segment out of order",
        "Two neighbouring blocks of a video that have each other’s labels, or stand in each other’s place: exchanged, "
        "the order of phases is one that other videos have, and the pictures go on where they meet.",
    ),
    "outlier": (
        "Outliers",
        "outlier",
        "Images that are unlike all others to the network: broken, foreign to the dataset, or rare and worth keeping.",
    ),
}
TRIAGE = {
    "wrong": "one other label was ahead steadily",
    "ambiguous": "no single other label was ahead",
    "hard": "the given label was ahead, but barely",
}
MANY = {"duplicate": "groups of exact duplicates", "near_duplicate": "groups of near duplicates"} | {
    "sequence_order": "segments out of order"
}
SAID = {"keep": "Label confirmed", "unsure": "Left open (unsure)"}


def found(of: Facts, pictures: Pictures) -> str:
    """The section. Kinds that were looked for and not found are said as well as those that were not looked for."""
    kinds = [kind for kind in KINDS if (of.progress["kind"] == kind).any()]
    parts = [p(*_not_found(of, kinds))]
    if kinds:
        parts.append(_counts(of, kinds))
    if pictures.missing and kinds:
        gone = of.media.worded("The images are not where the audit found them, so they are not shown here.")
        parts.append(p(gone, kind="note"))
    for kind in kinds:
        if kind in SPANS:
            shown = len(spans.worst(of, kind))
            parts.append(_heading(of, kind, shown) + spans.segments(of, pictures, kind))
            continue
        draw = _singles if kind in ("label_error", "outlier") else _groups
        parts.append(draw(of, pictures, kind))
    return section("found", "What was found", *parts)


def looked_for(of: Facts) -> dict[str, bool]:
    """Whether a run was able to find each kind that the dataset may have."""
    able = {
        "label_error": "label_error" in of.scores,
        "duplicate": of.run.has_duplicates(),
        "near_duplicate": of.run.has_duplicates(),
        "outlier": "outlier" in of.scores,
    }
    if of.only_frames:
        del able["label_error"]  # a frame's label is wrong for a stretch
    return able | (dict.fromkeys(SPANS, of.frames is not None) if of.sequences else {})


def _not_found(of: Facts, kinds: list[str]) -> list[str]:
    said = []
    able = looked_for(of)
    none = [TEXTS[kind][0].lower() for kind, can in able.items() if can and kind not in kinds]
    unable = [TEXTS[kind][0].lower() for kind, can in able.items() if not can and kind not in kinds]
    if none:
        said.append(f"Looked for, and none found: {', '.join(none)}.")
    if unable:
        said.append(f"Not looked for, as the run has not what it takes: {', '.join(unable)}.")
    return said


def _counts(of: Facts, kinds: list[str]) -> str:
    images = of.findings.groupby("kind", observed=True)["sample"].nunique()
    rows = []
    for kind in kinds:
        row = of.progress[of.progress["kind"] == kind].iloc[0]
        rest = int(row["of"] - row["reviewed"])
        rows.append([TEXTS[kind][0], f"{row['of']:,}", f"{images[kind]:,}", f"{row['reviewed']:,}", f"{rest:,}"])
    return table(
        "Findings of each kind, and how many were reviewed",
        ["Kind", ">Findings", of.media.worded(">Images"), ">Reviewed", ">Not reviewed"],
        rows,
    )


def _heading(of: Facts, kind: str, shown: int, more: str = "") -> str:
    total = int(of.progress.loc[of.progress["kind"] == kind, "of"].iloc[0])
    title, one, meaning = map(of.media.worded, TEXTS[kind])
    which = f"The {shown} most severe of {total:,} are shown." if shown < total else ""
    head = f'<h3 id="{kind}">{title}</h3>'
    return head + p(f"<b>{plural(total, one, MANY.get(kind, ''))}.</b> {meaning}", more, which, kind="lead-in")


# ------------------------------------------------------------------------------------------------- single images


def _singles(of: Facts, pictures: Pictures, kind: str) -> str:
    rows = of.worst[of.worst["kind"] == kind].sort_values("rank")
    drawn = of.prints is not None
    top = _top(of, rows["sample"]) if drawn else 0.0
    cards = "".join(f"<li>{_card(of, pictures, row, top)}</li>" for row in rows.itertuples())
    key = ""
    if drawn and top:
        key = p(
            f'<span class="swatch"></span> The {of.noun}’s <i>loss print</i>: how surprised the network was by '
            f"the given label at each of {plural(len(of.prints.checkpoints), 'checkpoint')} (bottom: not at all; top: "
            f'{top:.1f}{NBSP}nats). <span class="swatch mean"></span> The mean of the {of.prints.of} {of.noun}s '
            "with that label. Where the first stays far above the second, the network never accepted the label.",
            kind="note",
        )
    return f'{_heading(of, kind, len(rows))}<ul class="cards">{cards}</ul>{key}'


def _top(of: Facts, samples: Iterable[int]) -> float:
    """The upper end of the scale that all loss prints of a kind share."""
    curves = [of.prints.losses[one] for one in samples if one in of.prints.losses]
    curves += [of.prints.means[of.samples.at[one, "label"]] for one in samples if one in of.prints.losses]
    known = np.concatenate(curves) if curves else np.empty(0)
    return float(np.nanmax(known)) if np.isfinite(known).any() else 0.0


def _card(of: Facts, pictures: Pictures, row, top: float) -> str:
    sample = int(row.sample)
    label = of.samples.at[sample, "label"]
    says = f'Given <span class="given">{name(label)}</span>'
    if isinstance(row.suggested_label, str):
        sure = "" if pd.isna(row.suggested_probability) else f" ({100 * row.suggested_probability:.0f}{NBSP}%)"
        says += f'<br>Suggested <span class="other">{name(row.suggested_label)}</span>{sure}'
    drawn = ""
    if top and sample in of.prints.losses:
        drawn = loss_print(of.prints.losses[sample], of.prints.means.get(label), top, label)
    why = TRIAGE.get(row.triage, "") if isinstance(row.triage, str) and row.kind == "label_error" else ""
    return (
        f'<figure class="card"><div class="picture">{pictures.card(sample, label)}</div><figcaption>'
        f"{p(says)}{drawn}{p(f'Severity {row.severity:.2f}' + (f': {why}' if why else ''), kind='note')}"
        f"{p(path(of.samples.at[sample, 'path']))}"
        f'<p class="said">{said(of, sample)}</p></figcaption></figure>'
    )


def said(of: Facts, sample: int) -> str:
    """What was decided about a sample, in a few words of HTML."""
    if sample not in of.reviewed.index:
        return "Reviewed, nothing decided yet" if (of.standing["sample"] == sample).any() else "Not reviewed"
    row = of.reviewed.loc[sample]
    if row["change"] == "relabelled":
        what = f'<span class="tag changed">Changed to {name(row["label"], 40)}</span>'
    elif row["change"] == "excluded":
        what = '<span class="tag out">Left out</span>'
    else:
        what = f'<span class="tag">{SAID.get(row["decision"], SAID["keep"])}</span>'
    return f'{what} <span class="by">{name(row["reviewer"], 40)}</span>'


# ------------------------------------------------------------------------------------------------- groups


def _groups(of: Facts, pictures: Pictures, kind: str) -> str:
    rows = of.worst[of.worst["kind"] == kind]
    groups = list(rows.groupby("rank", sort=True))
    items = "".join(f"<li>{_group(of, pictures, group)}</li>" for _, group in groups)
    return f'{_heading(of, kind, len(groups), _odd(of, kind))}<ul class="groups">{items}</ul>'


def _odd(of: Facts, kind: str) -> str:
    """How many of all groups have conflicting labels, and how many lie in several splits."""
    mine = of.findings.loc[of.findings["kind"] == kind, ["group", "sample"]]
    known = of.samples.loc[mine["sample"], ["label", "split"]].astype(object).reset_index(drop=True)
    each = known.groupby(mine["group"].to_numpy()).nunique()
    conflict, leak = int((each["label"] > 1).sum()), int((each["split"] > 1).sum())
    parts = []
    if conflict:
        parts.append(f"{conflict:,} under conflicting labels")
    if leak:
        parts.append(f"{leak:,} in more than one of training, validation and test")
    return f"Of these, {', '.join(parts)}." if parts else ""


def _group(of: Facts, pictures: Pictures, group: pd.DataFrame) -> str:
    known = of.samples.loc[group["sample"]]
    figures = []
    for sample in group["sample"].tolist()[:MEMBERS]:
        row = known.loc[sample]
        split = SPLITS.get(row["split"], text(row["split"], 20))
        label = f'<span class="given">{name(row["label"])}</span> · {split}'
        figures.append(
            f'<figure><div class="picture">{pictures.card(sample, row["label"])}</div><figcaption>'
            f'{p(label)}{p(path(row["path"]))}<p class="said">{said(of, sample)}</p></figcaption></figure>'
        )
    more = len(group) - MEMBERS
    rest = p(f"and {plural(more, f'further {of.noun}')} of this group", kind="note") if more > 0 else ""
    labels, splits = known["label"].nunique(), known["split"].nunique()
    notes = [words for words, odd in (("conflicting labels", labels > 1), ("in several splits", splits > 1)) if odd]
    head = p(f'<span class="tag out">{" · ".join(notes)}</span>' if notes else "The same label: one copy is enough.")
    return f'<div class="group"><div class="members">{"".join(figures)}</div>{rest}{head}</div>'
