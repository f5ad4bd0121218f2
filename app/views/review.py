"""Review: one question at a time, stored at once."""

from uuid import uuid4

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements.question import Question, question
from lossprint.app.questions import copies, questions
from lossprint.app.shared import buttons, decide, guard, identity, parts, proof, trust
from lossprint.app.shared.acting import picked, steps
from lossprint.app.shared.sample import folded
from lossprint.audit.review import queues
from lossprint.audit.review.reviews import Conflict
from lossprint.audit.types import LossprintError, Review

TRIES = 25  # questions that others hold, before it is said that nothing is free
HOLD = 600.0  # seconds for which a question is one reviewer's
AT, AFTER, SKIPPED, ASKED, SAID = "_review_at", "_review_after", "_review_skipped", "_review_asked", "_review_said"
SESSION = "_review_session"
IN_CARD = 4  # examples of a class beside the image
HELD = "_review_mine"  # the question that the queue handed out, and under which name


def render(loaded: data.Loaded) -> None:
    parts.header("Review", "One question at a time. Each answer is stored at once and can be taken back.")
    trust.warn(loaded)
    trust.count(loaded)
    _who(loaded)
    which, tier, blind, mix = _settings(loaded)
    _round(loaded, which, tier, blind, mix)


def _settings(loaded: data.Loaded) -> tuple[str, str, str, bool]:
    """Which queue, which tier, what is hidden, and whether the random audit is mixed in. All of it is in the URL."""
    kinds = set(data.derived(loaded, questions.items)["kind"])
    have = [name for name, of in questions.QUEUES.items() if of is None or queues.AUDIT in of or kinds & set(of)]
    own = [*([picked.QUEUE] if picked.of_link(loaded) else []), *picked.queues(loaded)]
    have += own
    chance = ("Random audit", "Spot check", *own)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        which = parts.one_of(
            "Queue",
            have,
            default="Everything",
            key="queue",
            format_func=parts.md,  # a queue that was sent may be called anything; links hold it so, too
            bind="query-params",
            label_visibility="collapsed",
            on_change=_forget,
        )
        tier = "All tiers"
        counts = questions.queue_of(loaded, which, "", False)["tier"].value_counts()
        if which not in chance:
            tier = st.selectbox(
                "Tier",
                [name for name, word in questions.TIERS.items() if not word or counts.get(word, 0)],
                key="tier",
                bind="query-params",
                label_visibility="collapsed",
                width=150,
                help=questions.tiers_help(counts),
                on_change=_forget,
            )
        with st.popover("How", icon=":material/tune:"):
            blind = st.radio(
                "What you see before you answer",
                list(questions.BLIND),
                key="blind",
                bind="query-params",
                help="A label that is shown pulls the answer towards it. Hiding one takes longer and tells more; what "
                "was hidden is stored with each decision.",
                on_change=_renew,
            )
            mix = st.toggle(
                "Mix in the random audit",
                key="mix",
                bind="query-params",
                help=f"Each {queues.EVERY}th question is then a training sample that nothing flagged, drawn at random. "
                "From them the page **When to stop** estimates how many errors are left.",
                on_change=_forget,
                disabled=which in chance,
            )
    return which, questions.TIERS[tier], questions.BLIND[blind], mix and which not in chance


def _who(loaded: data.Loaded) -> None:
    """Where several people review and this browser has not said who it is, ask at once: each has questions of their
    own."""
    kept = data.reviews(loaded)
    names = {*kept.assignments()["reviewer"].astype(str), *kept.history()["reviewer"].astype(str)}
    if len(names) > 1 and not identity.known():
        identity.pick(sorted(names), lambda: (decide.forget_stored(), _forget()))


def _forget() -> None:
    for name in (AT, AFTER, ASKED):
        st.session_state.pop(name, None)


def _renew() -> None:
    st.session_state.pop(ASKED, None)


# ---------------------------------------------------------------------------------------------- one question


@guard.fragment
def _round(loaded: data.Loaded, which: str, tier: str, blind: str, mix: bool) -> None:
    """The question and all that depends on it: an answer draws this anew, and nothing else."""
    with guard.one_line():
        decide.tell()
        items = questions.queue_of(loaded, which, tier, mix)
        kept = data.reviews(loaded)
        history, assignments, who = kept.history(), kept.assignments(), decide.reviewer()
        open_now = queues.unanswered_by(who, items["group"], history, assignments)
        name = _choose(loaded, items, open_now, assignments)
        parts.write_url("finding", name)
        if name is None:
            _done(loaded, which, items, open_now)
            return
        item = _item(loaded, items, name)
        _show(loaded, item, items, open_now, history, assignments, blind)
        if item["kind"] in queues.SPANS:
            parts.link("sequences", "Open in Sequences, to move its ends", "movie", {"span": name})
        elif item["kind"] in queues.DUPLICATES:
            first, *others = item["samples"][: questions.MEMBERS]
            proof.beside(loaded, int(first), {f"its copy #{one}": int(one) for one in others}, "review-copies")
        elif not blind:
            _evidence(loaded, item)


def _choose(loaded: data.Loaded, items: pd.DataFrame, open_now: np.ndarray, assignments: pd.DataFrame) -> str | None:
    """The finding to ask about: the one that a link or an undo names, the one on the screen, or the next open one."""
    linked = parts.url_asks("finding")
    if linked and _item(loaded, items, linked) is not None:
        st.session_state[AT] = linked
    elif linked:
        parts.told_missing("question", linked)
    at, who = st.session_state.get(AT), decide.reviewer()
    held, holder = st.session_state.get(HELD, (None, who))
    renamed = at == held and holder != who  # handed out under another name: somebody else may have that question
    if at is not None and not renamed and _item(loaded, items, at) is not None:
        return at
    names = list(items["group"])
    after, skipped = st.session_state.get(AFTER), st.session_state.get(SKIPPED, set())
    mine = set(assignments["finding"])
    st.session_state["_review_held"] = None
    for name in queues.next_open(names, open_now, skipped, after)[:TRIES]:
        holder = None if name in mine else _claim(loaded, name)
        if holder is not None:
            st.session_state["_review_held"] = holder
        elif _still_open(loaded, name):  # who held it a moment ago may have answered it
            st.session_state[AT], st.session_state[HELD] = name, (name, who)
            return name
    return None


def _still_open(loaded: data.Loaded, name: str) -> bool:
    kept = data.reviews(loaded)
    return bool(queues.unanswered_by(decide.reviewer(), pd.Series([name]), kept.history(), kept.assignments())[0])


def _claim(loaded: data.Loaded, name: str) -> str | None:
    """Hold a question for this session, so that nobody else is handed it; who holds it already, if anybody does."""
    session = st.session_state.setdefault(SESSION, uuid4().hex)
    try:
        return data.reviews(loaded).claim(name, decide.reviewer(), session, HOLD)
    except LossprintError:
        return None  # where nothing can be written nothing can be decided either; that is said when it is tried


def _item(loaded: data.Loaded, items: pd.DataFrame, name: str) -> pd.Series | None:
    """The question of a name, of this queue or another one; None where the run has none such."""
    for table in (items, data.derived(loaded, questions.items), data.derived(loaded, questions.audit)):
        rows = table[table["group"] == name]
        if len(rows):
            return rows.iloc[0]
    return None


def _show(
    loaded: data.Loaded,
    item: pd.Series,
    items: pd.DataFrame,
    open_now: np.ndarray,
    history: pd.DataFrame,
    assignments: pd.DataFrame,
    blind: str,
) -> None:
    name, samples = item["group"], item["samples"]
    blind = "" if item["kind"] in queues.SPANS else blind  # what is claimed of a span says both labels
    mine = history[history["finding"] == name]
    draft = _draft(loaded, item, history, blind)
    state = _asking(name, blind, mine)
    # Read by the answer's callback, which runs before the page is drawn again.
    state |= {"draft": draft, "item": item}
    done = len(items) - int(open_now.sum())
    question(
        Question(
            token=state["token"],
            title=draft.title,
            images=_images(loaded, item, blind),
            choices=tuple(offer.choice for offer in draft.offers),
            labels=draft.labels,
            codes=draft.codes,
            fresh=draft.fresh,
            known=tuple(loaded.classes) if draft.fresh else (),
            given=draft.given if len(samples) == 1 else "",
            suggested=draft.suggested,
            about=_about(loaded, samples, item["kind"], blind),
            hint=draft.hint,
            notice=state["notice"] or _before(loaded, name, mine, samples, assignments),
            said=st.session_state.pop(SAID, ""),
            strip=item["kind"] in queues.SPANS,
            coming=_coming(loaded, items, open_now, name, blind),
            done=done,
            of=len(items),
            left=_left(items, open_now, history, done),
            **_proof(loaded, item, blind),
        ),
        key="question",
        on_answer=lambda answer: _answer(loaded, answer),
        on_skip=_skip,
        on_undo=lambda: steps.undo(loaded, _back),
        on_redo=lambda: _again(loaded),
    )


def _proof(loaded: data.Loaded, item: pd.Series, blind: str) -> dict:
    """The evidence within the card: typical samples of both classes and the loss print; none if a label is hidden."""
    if blind or len(item["samples"]) > 1 or item["kind"] in queues.SPANS:
        return {}
    sample = int(item["samples"][0])
    given, suggested = str(loaded.samples.at[sample, "label"]), item["suggested_label"]
    return {
        "sides": tuple(proof.sides(loaded, sample, given, suggested, IN_CARD)),
        "print": proof.print_of(loaded, sample, suggested),
    }


def _asking(name: str, blind: str, mine: pd.DataFrame) -> dict:
    """The state of this asking, anew for another question, and where somebody answered it since it was drawn.

    A key that is under way then meant the page without that notice: its token is an old one, and it is dropped.
    """
    state = st.session_state.get(ASKED)
    seen, last = (int(mine["id"].iloc[-1]), str(mine["token"].iloc[-1])) if len(mine) else (0, "")
    if (
        state is None
        or (state["finding"], state["blind"]) != (name, blind)
        or (state["seen"] != seen and not last.startswith(state["token"]))
    ):
        state = {"token": uuid4().hex, "finding": name, "blind": blind, "notice": ""}
        st.session_state[ASKED] = state
    state["seen"] = seen
    return state


def _draft(loaded: data.Loaded, item: pd.Series, history: pd.DataFrame, blind: str) -> questions.Draft:
    samples = item["samples"]
    if item["kind"] in queues.SPANS:
        return questions.about_span(loaded, item["group"], history)
    if item["kind"] in queues.DUPLICATES:
        losses = copies.losses(loaded.scores, np.asarray(samples))
        return questions.about_group(loaded, item["group"], samples, losses, history)
    sample = int(samples[0])
    likely = data.derived(loaded, questions.likely).get(sample, []) if item["kind"] == "label_error" else []
    return questions.about_label(
        sample,
        str(loaded.samples.at[sample, "label"]),
        item["suggested_label"],
        likely,
        loaded.classes,
        tier=item["tier"],
        kind=item["kind"],
        blind=blind,
        new=decide.labels(loaded)[len(loaded.classes) :],
    )


def _about(loaded: data.Loaded, samples: list[int], kind: str, blind: str) -> str:
    if kind in queues.SPANS:
        return f"{min(len(samples), questions.MEMBERS)} of {len(samples):,} frames are shown."
    if len(samples) > 1:
        more = len(samples) - questions.MEMBERS
        return f"{more:,} more {loaded.noun}s of this group are not shown." if more > 0 else ""
    path = str(loaded.samples.at[samples[0], "path"])
    # A path such as train/coat/17.png would tell the label that is hidden.
    return f"Sample {samples[0]}" if blind == "given" else f"Sample {samples[0]} · {path}"


def _before(loaded: data.Loaded, name: str, mine: pd.DataFrame, samples: list[int], assignments: pd.DataFrame) -> str:
    """What to know first: what was said of this finding before, and what another finding left out.

    Before: by this reviewer, or by anybody where the finding is not shared out for independent answers.
    """
    lines = []
    standing = mine[mine["stands"]]
    if len(standing):
        if (assignments["finding"] == name).any():
            standing = standing[standing["reviewer"] == decide.reviewer()]
        if len(standing):
            last = standing.iloc[-1]
            words = decide.one_in_words(last["decision"], last["new_label"])
            lines.append(f"Answered before by {last['reviewer']}: {words}. A new answer replaces it.")
    out = decide.excluded_elsewhere(loaded, name, samples)
    for sample, other in list(out.items())[:3]:
        what = "“Keep all” leaves it out" if len(samples) > 1 else "deciding here brings it back, except by Exclude"
        lines.append(f"Sample {sample} is excluded in {other}; {what}.")
    return " ".join(lines)


def _coming(loaded, items: pd.DataFrame, open_now: np.ndarray, name: str, blind: str) -> tuple:
    """The images of the next question, to be there before it is asked."""
    following = queues.next_open(list(items["group"]), open_now, st.session_state.get(SKIPPED, set()), name)
    following = next((one for one in following if one != name), None)
    if following is None:
        return ()
    return _images(loaded, _item(loaded, items, following), blind)


def _images(loaded: data.Loaded, item: pd.Series, blind: str) -> tuple:
    span = item["kind"] in queues.SPANS
    hide = blind == "given" and not span
    return questions.images(loaded, questions.shown(item["samples"], item["kind"]), hide_label=hide, strip=span)


def _left(items: pd.DataFrame, open_now: np.ndarray, history: pd.DataFrame, done: int) -> str:
    mine = history[history["stands"] & (history["reviewer"] == decide.reviewer())].drop_duplicates("finding")
    tiers = dict(zip(items["group"], items["tier"]))
    seconds = queues.seconds_left(items["tier"], open_now, mine.assign(tier=mine["finding"].map(tiers)))
    text = f"{done:,} of {len(items):,} answered"
    if seconds is None or not open_now.any():
        return text
    minutes = seconds / 60
    if minutes >= 120:
        return f"{text} · about {minutes / 60:.0f} hours left at your pace"
    return f"{text} · about {'a minute' if minutes < 1.5 else f'{minutes:.0f} minutes'} left at your pace"


# ---------------------------------------------------------------------------------------------- answers (callbacks)


def _answer(loaded: data.Loaded, answer: dict) -> None:
    state = st.session_state.get(ASKED)
    if state is None or answer.get("token") != state["token"]:
        return  # a late key: it meant the question before
    item, draft = state["item"], state["draft"]
    given, suggested = str(loaded.samples.at[item["samples"][0], "label"]), item["suggested_label"]
    sample = int(item["samples"][0])
    decisions = draft.decisions(
        str(answer.get("choice")), lambda label: questions.decide_label(sample, label, given, suggested)
    )
    if not decisions:
        return
    try:
        decide.answer(
            loaded,
            item["group"],
            decisions,
            token=state["token"],
            seen=state["seen"],
            seconds=answer.get("seconds"),
            blind=state["blind"],
            comment=str(answer.get("comment") or ""),
            new_class=bool(questions.new_class(str(answer.get("choice")))),
        )
    except identity.Nameless:
        identity.ask(lambda: _answer(loaded, answer))
        return
    except Conflict as conflict:
        notice = f"{decide.answered(conflict.row)} Answer again to add yours, or skip (S)."
        st.session_state[ASKED] = {**state, "token": uuid4().hex, "notice": notice, "seen": conflict.row.id}
        return
    except LossprintError as error:
        # The token stays: if only the word that it was stored got lost, a second answer is not stored again.
        st.session_state[ASKED] = {**state, "notice": f"The answer was not stored: {error}"}
        return
    st.session_state[SAID] = f"Stored: {decide.in_words(decisions)}. U takes it back."
    _onward(item["group"])


def _onward(name: str) -> None:
    st.session_state[AFTER] = name
    st.session_state.pop(ASKED, None)
    st.session_state.pop(AT, None)


def _skip(token: str) -> None:
    state = st.session_state.get(ASKED)
    if state is None or token != state["token"]:
        return
    st.session_state.setdefault(SKIPPED, set()).add(state["finding"])
    _onward(state["finding"])


def _again(loaded: data.Loaded) -> None:
    steps.redo(loaded)
    _forget()


def _back(row: Review) -> None:
    _renew()
    st.session_state[AT] = row.finding


# ---------------------------------------------------------------------------------------------- around the question


def _done(loaded: data.Loaded, which: str, items: pd.DataFrame, open_now: np.ndarray) -> None:
    holder = st.session_state.get("_review_held")
    if items.empty:
        parts.empty("Nothing to review", "This run has no findings of this kind. Take another queue.")
    elif holder and open_now.any():
        parts.empty(
            "The rest is being answered",
            f"{parts.plural(int(open_now.sum()), 'question')} left, all of them open in other windows at the moment "
            f"({parts.md(holder)}). Take another queue, or come back in a few minutes.",
            "group",
        )
    else:
        parts.empty(
            "All reviewed",
            "Every question of this queue is answered. Take another queue, see what is left to be found, or export the "
            "cleaned dataset.",
        )
    with st.container(horizontal=True, horizontal_alignment="center"):
        parts.link("stop", "When to stop", "flag")
        parts.link("export", "Export the cleaned dataset", "download")
        buttons.undo(loaded, _back, key="done-undo")


def _evidence(loaded: data.Loaded, item: pd.Series) -> None:
    sample = int(item["samples"][0])
    proof.below(loaded, sample, item["suggested_label"], "review")
    proof.beside(loaded, sample, proof.companions(loaded, sample, item["suggested_label"]), "review")
    folded(loaded, sample, "review", "Details: why it is asked, its duplicates and all scores", box="review-details")
