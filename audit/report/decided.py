"""The sections of a report that say what was decided, by whom, and how far the reviewers agree."""

import math

import numpy as np
import pandas as pd

from lossprint.audit.datasets.media import Media
from lossprint.audit.report import spans
from lossprint.audit.report.facts import ROWS, Facts
from lossprint.audit.report.found import TEXTS
from lossprint.audit.report.html import (
    DASH,
    NBSP,
    SPLITS,
    command,
    day,
    iso_day,
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
from lossprint.audit.report.pictures import Pictures
from lossprint.audit.review import resolve
from lossprint.audit.review.queues import SPANS
from lossprint.scoring import reviewers as measures
from lossprint.scoring.reviewers import Estimate

KINDS = {kind: texts[0] for kind, texts in TEXTS.items()} | {"audit": "Random checks"}
CHOICES = {
    "accept": "Suggestion taken",
    "relabel": "Other label",
    "keep": "Label kept",
    "exclude": "Left out",
    "unsure": "Unsure",
    "reorder": "Put elsewhere",
}
WHY = {
    "accept": "Suggestion taken",
    "relabel": "Label chosen by hand",
    "exclude": "Left out",
    "unsure": "Left out as unsure",
}
MOST = 40  # rows of the other tables
FEW = 10  # images of a kind under which its alpha says nothing


def decided(of: Facts) -> str:
    """The section: what holds, by whom, and what it does to the classes; `every_change` lists the changes."""
    if of.standing.empty:
        empty = "Nobody has decided on an image yet, so this report tells what the network suspects, and nothing else."
        return section("decided", "What was decided, and by whom", p(of.media.worded(empty)))
    rows = of.standing.drop_duplicates(["finding", "sample", "reviewer", "role"], keep="last")
    return section(
        "decided",
        "What was decided, and by whom",
        p(outcome(of), _rule(of), _taken_back(of)),
        _people(of, rows),
        _by_kind(of, rows),
        _classes(of),
        _became(of),
    )


def tally(of: Facts) -> dict[str, int]:
    """Reviewed samples by what holds for them: changed, moved, out, kept, unsure."""
    change, decision = of.reviewed["change"], of.reviewed["decision"]
    same = change == ""
    return {
        "changed": int((change == "relabelled").sum()),
        "moved": int((change == "reordered").sum()),
        "out": int((change == "excluded").sum()),
        "kept": int((same & (decision != "unsure")).sum()),
        "unsure": int((same & (decision == "unsure")).sum()),
    }


def outcome(of: Facts) -> str:
    """Who decided on how many images and what came of it, as one sentence of HTML."""
    people = [name(one, 40) for one in of.reviewers]
    who = f"{plural(len(people), 'reviewer')} ({listed(people)})"
    first, last = day(of.standing["at"].iloc[0]), day(of.standing["at"].iloc[-1])
    when = f"on {first}" if first == last else f"from {first} to {last}"
    count = tally(of)
    parts = [
        f"{plural(count['changed'], 'label')} {'is' if count['changed'] == 1 else 'are'} changed",
        *([f"{plural(count['moved'], 'frame')} put elsewhere"] if count["moved"] else []),
        f"{plural(count['out'], of.noun)} left out",
        f"{plural(count['kept'], 'label')} confirmed",
    ]
    if count["unsure"]:
        parts.append(f"{plural(count['unsure'], of.noun)} left as given because the reviewers were unsure")
    open_ones = of.standing["sample"].nunique() - len(of.reviewed)
    if open_ones:
        parts.append(f"{plural(open_ones, of.noun)} left as given because the reviewers did not settle on anything")
    seen = plural(of.standing["sample"].nunique(), of.noun)
    return f"{who} looked at {seen} {when}: {', '.join(parts[:-1])} and {parts[-1]}."


def _rule(of: Facts) -> str:
    several = len(of.reviewers) > 1 or of.rule != "latest"
    return f"Whose decision holds: {text(of.rule_words, 200)}." if several else ""


def _taken_back(of: Facts) -> str:
    count = int((of.history["decision"] == "undo").sum())
    if not count:
        return ""
    were = "was" if count == 1 else "were"
    return f"{plural(count, 'decision')} {were} taken back by those who had made them, and {were} not counted."


def _people(of: Facts, rows: pd.DataFrame) -> str:
    # One look at a segment of video answers for all of its frames.
    looks = rows.drop_duplicates(["finding", "reviewer"], keep="last").groupby("reviewer", observed=True)["seconds"]
    each = rows.groupby("reviewer", observed=True).agg(
        images=("sample", "nunique"),
        blind=("blind", lambda one: int((one != "").sum())),
        settled=("role", lambda one: int((one == "adjudication").sum())),
        brought=("role", lambda one: int((one == "import").sum())),
        first=("at", "first"),
        last=("at", "last"),
    )
    each = each.assign(seconds=looks.median()).sort_values("images", ascending=False, kind="stable")
    lines = [
        [
            name(who),
            f"{row.images:,}",
            f"{row.blind:,}",
            f"{row.settled:,}",
            f"{row.brought:,}",
            DASH if math.isnan(row.seconds) else f"{row.seconds:.1f}{NBSP}s",
            iso_day(row.first),
            iso_day(row.last),
        ]
        for who, row in zip(each.index, each.head(MOST).itertuples())
    ]
    head = [
        "Reviewer",
        f">{of.noun.capitalize()}s",
        ">Blind",
        ">Settled",
        ">Brought in",
        ">Typical time",
        "First",
        "Last",
    ]
    shown = table("Reviewers", head, lines, "wide")
    note = p(
        "<i>Blind</i>: the given label or the suggestion was hidden from the reviewer. <i>Settled</i>: decisions that "
        "were made to settle a disagreement. <i>Brought in</i>: made in another tool. <i>Typical time</i>: the median "
        "time that a question was looked at, where it was measured.",
        kind="note",
    )
    return shown + note + _rest(len(each), MOST, "reviewer")


def _by_kind(of: Facts, rows: pd.DataFrame) -> str:
    video = rows["finding"].astype(object).str.split(":", n=1).str[0].isin(SPANS)
    once = rows[video].drop_duplicates(["finding", "reviewer", "role"], keep="last")
    # Of a segment the suggestion is taken frame by frame: each has a label of its own when two were exchanged.
    mine = of.findings[of.findings["kind"].isin(SPANS)]
    suggested = dict(zip(zip(mine["group"], mine["sample"]), mine["suggested_label"]))
    taken = [
        row.decision == "relabel" and row.new_label == suggested.get((row.finding, row.sample))
        for row in once.itertuples()
    ]
    once = once.assign(decision=once["decision"].astype(object).mask(np.array(taken, bool), "accept"))
    rows = pd.concat([rows[~video], once])
    prefix = rows["finding"].astype(object).str.split(":", n=1).str[0]
    kind = prefix.where(prefix.isin(list(KINDS)), "other")
    counts = pd.crosstab([kind, rows["reviewer"].astype(object)], rows["decision"].astype(object))
    choices = {key: words for key, words in CHOICES.items() if key != "reorder" or key in counts}
    counts = counts.reindex(columns=list(choices), fill_value=0)
    order = {one: at for at, one in enumerate([*KINDS, "other"])}
    counts = counts.iloc[sorted(range(len(counts)), key=lambda at: order[counts.index[at][0]])]
    lines = [
        [KINDS.get(one, "Other questions"), name(who), *(f"{count:,}" for count in row)]
        for (one, who), row in zip(counts.index, counts.head(MOST).to_numpy().tolist())
    ]
    head = ["Asked because of", "Reviewer", *(f">{one}" for one in choices.values())]
    about = "one image, or one segment of video" if video.any() else f"one {of.noun}"
    caption = f"Decisions that stand, by kind of finding and reviewer (a decision is about {about})"
    return table(caption, head, lines, "wide") + _rest(len(counts), MOST, "row")


def _rest(number: int, most: int, one: str, many: str = "") -> str:
    if number <= most:
        return ""
    return p(f"{plural(number - most, f'further {one}', many and f'further {many}')} not shown here.", kind="note")


# ------------------------------------------------------------------------------------------------- what changed


def _classes(of: Facts) -> str:
    """Per class that a decision changed: size before and after."""
    if of.changed.empty:
        return ""
    moved = of.changed[of.changed["change"] == "relabelled"]
    away = moved["given_label"].astype(object).value_counts()
    into = moved["label"].astype(object).value_counts()
    out = of.changed.loc[of.changed["change"] == "excluded", "given_label"].astype(object).value_counts()
    frame = pd.DataFrame({"away": away, "into": into, "out": out}).fillna(0).astype(int)
    frame["before"] = of.counts.sum(axis=1).reindex(frame.index).fillna(0).astype(int)
    frame["total"] = frame[["away", "into", "out"]].sum(axis=1)
    frame = frame.sort_index().sort_values("total", ascending=False, kind="stable")
    lines = [
        [
            name(label),
            f"{row.before:,}",
            f"{-row.away:,}",
            f"{row.into:+,}",
            f"{-row.out:,}",
            f"{row.before - row.away + row.into - row.out:,}",
        ]
        for label, row in zip(frame.index, frame.head(MOST).itertuples())
    ]
    what = f">{of.noun.capitalize()}s"
    head = ["Class", f"{what} before", ">Changed to others", ">Changed to it", ">Left out", f"{what} after"]
    caption = "What the decisions do to the classes (all splits)"
    return table(caption, head, lines, "wide") + _rest(len(frame), MOST, "class", "classes")


def _became(of: Facts) -> str:
    moved = of.changed.loc[of.changed["change"] == "relabelled", ["given_label", "label"]].astype(object)
    if len(moved) < 2:
        return ""
    most = 12
    pairs = moved.value_counts().reset_index()
    pairs = pairs.sort_values(["count", "given_label", "label"], ascending=[False, True, True])
    lines = [
        [name(row.given_label), name(row.label), f"{row.count_:,}"] for row in _named(pairs).head(most).itertuples()
    ]
    return table(
        "The most frequent corrections", ["Given label", "Corrected label", f">{of.noun.capitalize()}s"], lines
    ) + _rest(len(pairs), most, "pair of labels", "pairs of labels")


def _named(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.rename(columns={"count": "count_"})  # `count` is a method of each row


def every_change(of: Facts, pictures: Pictures, export: str) -> str:
    """The section that lists the changes: old, new, who, when, why. `export` is the command that writes all of them."""
    title, total = "Every change", len(of.changed)
    segments, alone = spans.changes(of), of.changed[~of.by_segment]
    if not total:
        said = (
            f"No label is changed and no {of.noun} left out by the decisions."
            if len(of.standing)
            else "There are none."
        )
        return section("changes", title, p(said))
    if alone.empty:
        more = p("Each frame has a row of its own in the file that this command writes:") + command(export)
        return section("changes", title, segments, more)
    total = len(alone)
    shows = not pictures.missing
    lines = []
    for row in alone.head(ROWS).itertuples():
        picture = [f'<span class="thumb">{pictures.thumb(row.Index, row.given_label)}</span>'] if shows else []
        new = f'<span class="other">{name(row.label)}</span>' if row.change == "relabelled" else "left out"
        lines.append(
            [
                f"{path(row.path, 60)}<br>{SPLITS.get(row.split, text(row.split, 20))}",
                *picture,
                f'<span class="given">{name(row.given_label)}</span>',
                new,
                f"{name(row.reviewer, 40)}<br>{moment(row.at)}",
                _why(row),
                text(row.comment, 300) if isinstance(row.comment, str) else "",
            ]
        )
    which = f"The first {ROWS:,} of {total:,} changes" if total > ROWS else plural(total, "change").replace(NBSP, " ")
    head = ["Image", *(["Picture"] if shows else []), "Old label", "New label", "Who, and when (UTC)", "Why", "Comment"]
    rest = ""
    if total > ROWS:
        rest = p(f"The other {total - ROWS:,} are in the file that this command writes:") + command(export)
    return section(
        "changes", title, segments, table(f"{which}, in the order of the dataset", head, lines, "wide changes"), rest
    )


def _why(row) -> str:
    """The decision and the question it answered, so that each change can be traced."""
    how = [WHY.get(row.decision, "Decided")]
    if row.role == "adjudication":
        how.append("to settle a disagreement")
    if row.role == "import":
        how.append("in another tool")
    if row.blind:
        how.append("given label hidden" if row.blind == "given" else "suggestion hidden")
    return f"{', '.join(how)}<br><small>{text(row.finding, 60)}, decision{NBSP}{row.review}</small>"


# ------------------------------------------------------------------------------------------------- agreement


def agreement(of: Facts) -> str:
    """The section on reviewer agreement."""
    found = of.agreement
    said = [prose(one) for one in measures.words(found.raw, found.alpha, thing=of.noun)]
    if not len(found.samples):
        more = "" if len(of.reviewers) < 2 else "Where two reviewers answer the same questions, it is told here."
        one = "What a single reviewer decides rests on that reviewer alone." if len(of.reviewers) == 1 else ""
        return section("agreement", "Reviewer agreement", p(*said, one, more))
    settled = resolve.disagreements(of.history, of.samples["label"])
    differ, done = len(settled), int(settled["adjudicated"].sum())
    rest = differ - done
    agree = (
        f"They differ on {plural(differ, of.noun)}; {done:,} of these {'was' if done == 1 else 'were'} settled by an "
        f"adjudication and {rest:,} {'is' if rest == 1 else 'are'} open."
        if differ
        else "They differ on none."
    )
    shared = f"{plural(len(found.samples), of.noun)} {'was' if len(found.samples) == 1 else 'were'} answered by two or "
    return section(
        "agreement",
        "Reviewer agreement",
        p(f"{shared}more reviewers, independently of what holds in the end.", agree),
        p(*said),
        _measures(found, of.media),
        _agreement_of(found, of.noun),
        _pairs(found, of.noun),
        p(
            f"Agreement is measured on {of.noun}s that were flagged or chosen to be shared; it does not speak for the "
            "rest of the dataset. A taken suggestion and the same label chosen by hand count as the same answer.",
            kind="note",
        ),
    )


def _measures(found, media: Media) -> str:
    meanings = (
        (
            "Same answer",
            found.raw,
            True,
            media.worded("Of two reviewers’ answers about an image, the share that is equal."),
        ),
        (found.name, found.kappa, False, "Agreement beyond chance: 1 is perfect, 0 is what chance would give."),
        ("Krippendorff’s alpha", found.alpha, False, "The same, for any number of reviewers and missing answers."),
    )
    lines = [
        [title, _value(one, share), _interval(one, share), f"{one.items:,}", meaning + _reason(one)]
        for title, one, share, meaning in meanings
    ]
    head = ["Measure", ">Value", ">90 % interval", f">{media.noun.capitalize()}s", "What it means"]
    return table("How far reviewers agree", head, lines, "words")


def _value(one: Estimate, share: bool) -> str:
    return DASH if math.isnan(one.value) else percent(one.value) if share else f"{one.value:.2f}"


def _interval(one: Estimate, share: bool) -> str:
    if math.isnan(one.low):
        return DASH
    low, high = ((f"{100 * end:.0f}" if share else f"{end:.2f}") for end in (one.low, one.high))
    return f"{low} to {high}{f'{NBSP}%' if share else ''}"


def _reason(one: Estimate) -> str:
    return f" Note: {text(one.reason, 200)}." if one.reason else ""


def _agreement_of(found, noun: str) -> str:
    if len(found.kinds) < 2:
        return ""
    lines = [
        [
            KINDS.get(row.kind, "Other questions"),
            f"{row.samples:,}",
            percent(row.raw),
            DASH if math.isnan(row.alpha) or row.samples < FEW else f"{row.alpha:.2f}",
        ]
        for row in found.kinds.itertuples()
    ]
    return table("By kind of finding", ["Kind", f">{noun.capitalize()}s", ">Same answer", ">Alpha"], lines)


def _pairs(found, noun: str) -> str:
    pairs = found.pairs[found.pairs["samples"] > 0]
    if len(pairs) < 2:
        return ""
    lines = [
        [
            f"{name(row.first, 40)} and {name(row.second, 40)}",
            f"{row.samples:,}",
            percent(row.raw),
            DASH if math.isnan(row.kappa) else f"{row.kappa:.2f}",
        ]
        for row in pairs.head(MOST).itertuples()
    ]
    head = ["Reviewers", f">{noun.capitalize()}s", ">Same answer", ">Cohen’s kappa"]
    return table("By pair of reviewers", head, lines) + _rest(len(pairs), MOST, "pair")
