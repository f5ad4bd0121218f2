"""Disagreements: where do reviewers differ, and what holds?"""

from uuid import uuid4

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.elements.question import Question, question
from lossprint.app.questions import disagreements, questions
from lossprint.app.shared import buttons, decide, guard, identity, parts, proof
from lossprint.app.shared.acting import steps
from lossprint.app.shared.sample import decision_list, folded, suggestion_of
from lossprint.audit.review import queues, resolve
from lossprint.audit.review.reviews import Conflict
from lossprint.audit.types import LossprintError, Review

ANY = "Anybody"
LISTED = 1000  # rows of the list
AT, AFTER, SKIPPED, ASKED, SAID = (f"_settle_{name}" for name in ("at", "after", "skipped", "asked", "said"))
HIDDEN = {"given": "given label hidden", "suggestion": "suggestion hidden"}


def render(loaded: data.Loaded) -> None:
    parts.header("Disagreements", "Where do reviewers differ, and what holds?")
    rows, votes = disagreements.rows(loaded)
    if rows.empty:
        _nothing(loaded)
        return
    _round(loaded, *_filters(rows, votes))


def _nothing(loaded: data.Loaded) -> None:
    history = data.reviews(loaded).history()
    names = history.loc[history["stands"] & (history["role"] != "adjudication"), "reviewer"].nunique()
    if names < 2:
        parts.empty(
            "Nobody to differ with",
            ("One reviewer has" if names else "Nobody has")
            + " answered so far. Share out a queue among two or more, with an overlap: where they differ, it is "
            "settled here.",
            "group",
        )
    else:
        parts.empty(
            "No disagreements",
            "Wherever two reviewers answered about the same sample, they say the same. If few samples are shared, "
            "that says little: see the page Reviewers.",
        )
    with st.container(horizontal=True, horizontal_alignment="center"):
        parts.link("reviewers", "Reviewers", "group")
        parts.link("review", "Review", "rule")


# ---------------------------------------------------------------------------------------------- which ones


def _filters(rows: pd.DataFrame, votes: pd.DataFrame) -> tuple[str, str, str]:
    """Whose, of which given label, of which kind. All of it is in the URL."""
    people = sorted(votes["reviewer"].astype(object).unique())
    labels = sorted(label for label in rows["given"].unique() if isinstance(label, str))
    kinds = sorted(rows["kind"].unique())
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        shared = {"bind": "query-params", "width": 190, "on_change": _forget}
        who = st.selectbox("Reviewer", [ANY, *people], key="who", **shared) if len(people) > 2 else ANY
        of = st.selectbox("Given label", ["All labels", *labels], key="d_class", **shared) if len(labels) > 1 else ""
        kind = "All kinds"
        if len(kinds) > 1:
            kind = st.selectbox(
                "Kind", ["All kinds", *kinds], key="d_kind", format_func=disagreements.kind_title, **shared
            )
    return who, "" if of == "All labels" else of, "" if kind == "All kinds" else kind


def _forget() -> None:
    for name in (AT, AFTER, ASKED):
        st.session_state.pop(name, None)


def _chosen(rows: pd.DataFrame, votes: pd.DataFrame, who: str, of: str, kind: str) -> pd.DataFrame:
    keep = np.ones(len(rows), bool)
    if who != ANY:
        keep &= rows["sample"].isin(votes.loc[votes["reviewer"] == who, "sample"]).to_numpy(bool)
    if of:
        keep &= (rows["given"] == of).to_numpy(bool)
    if kind:
        keep &= (rows["kind"] == kind).to_numpy(bool)
    return rows[keep].reset_index(drop=True)


# ---------------------------------------------------------------------------------------------- one at a time


@guard.fragment
def _round(loaded: data.Loaded, who: str, of: str, kind: str) -> None:
    with guard.one_line():
        decide.tell()
        rows, all_votes = disagreements.rows(loaded)
        queue = _chosen(rows, all_votes, who, of, kind)
        sample = _which(rows, queue)
        parts.write_url("sample", None if sample is None else str(sample))
        if sample is None:
            _all_settled(loaded, queue)
        else:
            row = rows[rows["sample"] == sample].iloc[0]
            votes = all_votes[all_votes["sample"] == sample]
            _said_by(votes)
            _show(loaded, row, votes, queue)
            _evidence(loaded, row)
        _list(queue, all_votes)


def _which(rows: pd.DataFrame, queue: pd.DataFrame) -> int | None:
    """The one that a link or the list names, the one on the screen, or the next open one."""
    samples = set(rows["sample"].tolist())
    linked = parts.url_asks("sample") or ""
    if linked.isascii() and linked.isdigit() and len(linked) < 19 and int(linked) in samples:
        st.session_state[AT] = int(linked)
    if st.session_state.get(AT) in samples:
        return st.session_state[AT]
    names = [str(sample) for sample in queue["sample"]]
    open_now = ~queue["adjudicated"].to_numpy(bool)
    after = queues.next_open(names, open_now, st.session_state.get(SKIPPED, set()), st.session_state.get(AFTER))
    if not after:
        return None
    st.session_state[AT] = int(after[0])
    return st.session_state[AT]


def _said_by(votes: pd.DataFrame) -> None:
    """What each reviewer said, when, how long it took, and what was hidden."""
    grid = st.grid(min(4, len(votes)), min_column_width=230, gap="small")
    for _, row in votes.iterrows():
        with grid.container(border=True, gap="xxsmall", height="stretch"):
            st.markdown(f"**{parts.md(row['reviewer'])}** {_badge(row)}")
            facts = [pd.Timestamp(row["at"]).strftime("%d %b %Y, %H\\:%M UTC")]
            if pd.notna(row["seconds"]):
                facts.append(f"{row['seconds']:.0f} s")
            facts.append(HIDDEN.get(str(row["blind"]), "both labels in view"))
            if row["role"] == "import":
                facts = [facts[0], "imported"]
            st.caption(" · ".join(facts))
            if row["comment"]:
                st.markdown(f"“{parts.md(row['comment'])}”")


def _badge(row: pd.Series) -> str:
    outcome = str(row["outcome"])
    if outcome.startswith("label:"):
        return f":violet-badge[{parts.md(disagreements.short(outcome))}]"
    if outcome == "keep":
        return ":blue-badge[keeps the label]"
    return f":orange-badge[{'excludes it' if outcome == 'exclude' else 'unsure'}]"


def _show(loaded: data.Loaded, row: pd.Series, votes: pd.DataFrame, queue: pd.DataFrame) -> None:
    sample, finding = int(row["sample"]), str(row["finding"])
    history = data.reviews(loaded).history()
    about = history[history["finding"] == finding]
    suggested = disagreements.suggestion(loaded, sample, finding)
    offers = disagreements.offers(loaded, sample, suggested, votes)
    state = st.session_state.get(ASKED)
    if state is None or state["sample"] != sample:
        state = {"token": uuid4().hex, "sample": sample, "notice": ""}
        st.session_state[ASKED] = state
    # Read by the answer's callback, which runs before the page is drawn again.
    seen = int(about["id"].max()) if len(about) else 0
    state |= {"finding": finding, "offers": offers, "seen": seen, "suggested": suggested}
    done = int(queue["adjudicated"].sum())
    few = len(loaded.classes) <= 1
    question(
        Question(
            token=state["token"],
            title="Which answer holds?",
            images=questions.images(loaded, [sample]),
            choices=tuple(offer.choice for offer in offers),
            labels=() if few else tuple(decide.labels(loaded)),
            fresh=not few,
            given=str(loaded.samples.at[sample, "label"]),
            suggested=suggested or "",
            about=f"Sample {sample} · {loaded.samples.at[sample, 'path']} · {finding}",
            notice=state["notice"] or disagreements.notice(history, sample, votes),
            said=st.session_state.pop(SAID, ""),
            coming=_coming(loaded, queue, sample),
            done=done,
            of=len(queue),
            left=f"{done:,} of {len(queue):,} settled",
        ),
        key="settle",
        on_answer=lambda answer: _answer(loaded, answer),
        on_skip=_skip,
        on_undo=lambda: steps.undo(loaded, _back),
        on_redo=lambda: _again(loaded),
    )


def _coming(loaded: data.Loaded, queue: pd.DataFrame, sample: int) -> tuple:
    """The image of the next one, to be there before it is asked for."""
    names = [str(name) for name in queue["sample"]]
    skipped = st.session_state.get(SKIPPED, set())
    following = queues.next_open(names, ~queue["adjudicated"].to_numpy(bool), skipped, str(sample))
    following = next((name for name in following if name != str(sample)), None)
    return questions.images(loaded, [int(following)]) if following is not None else ()


# ---------------------------------------------------------------------------------------------- answers (callbacks)


def _answer(loaded: data.Loaded, answer: dict) -> None:
    state = st.session_state.get(ASKED)
    if state is None or answer.get("token") != state["token"]:
        return  # a late key: it meant the question before
    sample, finding, choice = state["sample"], state["finding"], str(answer.get("choice"))
    decisions = next((offer.decisions for offer in state["offers"] if offer.id == choice), None)
    new, label = questions.new_class(choice), choice.removeprefix("label:")
    if (label != choice and label in decide.labels(loaded)) or (new and loaded.labelled):
        label = new or label
        given = str(loaded.samples.at[sample, "label"])
        decisions = questions.decide_label(sample, label, given, state["suggested"])
    if not decisions:
        return
    try:
        _check_settled(loaded, sample, state["seen"])
        decide.answer(
            loaded,
            finding,
            decisions,
            token=state["token"],
            seen=state["seen"],
            seconds=answer.get("seconds"),
            comment=str(answer.get("comment") or ""),
            new_class=bool(new),
            role="adjudication",
        )
    except identity.Nameless:
        identity.ask(lambda: _answer(loaded, answer))
        return
    except Conflict as conflict:
        did = "settled" if conflict.row.role == "adjudication" else "answered"
        notice = f"{decide.answered(conflict.row, did)} Answer again to add yours, or skip (S)."
        st.session_state[ASKED] = {**state, "token": uuid4().hex, "notice": notice}
        return
    except LossprintError as error:
        st.session_state[ASKED] = {**state, "notice": f"The answer was not stored: {error}"}  # see review._answer
        return
    st.session_state[SAID] = f"Settled: {decide.in_words(decisions)}. U takes it back."
    _onward(sample)


def _check_settled(loaded: data.Loaded, sample: int, seen: int) -> None:
    """Conflict where somebody settled the sample since the page was drawn, under whichever finding."""
    history = data.reviews(loaded).history()
    settled = resolve.adjudications(history[(history["sample"] == sample) & (history["id"] > seen)])
    if len(settled):
        row = settled.iloc[-1]
        names = ("finding", "decision", "reviewer", "at", "role")
        label = row["new_label"] if isinstance(row["new_label"], str) else None
        raise Conflict(Review(sample=sample, new_label=label, **{name: str(row[name]) for name in names}))


def _onward(sample: int) -> None:
    st.session_state[AFTER] = str(sample)
    st.session_state.pop(ASKED, None)
    st.session_state.pop(AT, None)


def _skip(token: str) -> None:
    state = st.session_state.get(ASKED)
    if state is None or token != state["token"]:
        return
    st.session_state.setdefault(SKIPPED, set()).add(str(state["sample"]))
    _onward(state["sample"])


def _again(loaded: data.Loaded) -> None:
    steps.redo(loaded)
    _forget()


def _back(row: Review) -> None:
    st.session_state.pop(ASKED, None)
    st.session_state[AT] = int(row.sample)


# ---------------------------------------------------------------------------------------------- around the question


def _all_settled(loaded: data.Loaded, queue: pd.DataFrame) -> None:
    if queue.empty:
        parts.empty("None of these", "No disagreement fits what is chosen above. Choose another reviewer or label.")
    else:
        parts.empty(
            "All settled",
            f"{parts.plural(len(queue), 'disagreement')} settled. The export takes what was settled before what each "
            "reviewer said.",
        )
    with st.container(horizontal=True, horizontal_alignment="center"):
        parts.link("export", "Export the cleaned dataset", "download")
        parts.link("reviewers", "Reviewers", "group")
        buttons.undo(loaded, _back, key="settled-undo")


def _evidence(loaded: data.Loaded, row: pd.Series) -> None:
    sample = int(row["sample"])

    title = "Evidence: why it was asked, loss print, neighbours and scores"

    def more() -> None:
        proof.draw(loaded, sample, suggestion_of(loaded, sample), "settle", examples=True)
        decision_list(loaded, sample)

    folded(loaded, sample, "settle", title, box="settle-evidence", more=more)


def _list(queue: pd.DataFrame, votes: pd.DataFrame) -> None:
    if queue.empty:
        return
    with st.expander(f"All {len(queue):,} of them", icon=":material/list:", key="settle-list"):
        table = queue.head(LISTED)
        words = disagreements.sentences(votes[votes["sample"].isin(table["sample"])])
        kinds = table["kind"].map(disagreements.kind_title)
        table = table.assign(words=table["sample"].map(words), kind=kinds)

        def picked() -> None:
            at = st.session_state["settle-rows"].selection.rows
            if at:
                st.session_state.pop(ASKED, None)
                st.session_state[AT] = int(table["sample"].iloc[at[0]])

        st.dataframe(
            table[["sample", "given", "kind", "words", "adjudicated"]],
            hide_index=True,
            key="settle-rows",
            on_select=picked,
            selection_mode="single-row",
            height=min(420, 38 + 35 * len(table)),
            alt="The disagreements, a row a sample; choosing one shows it",
            column_config={
                "sample": st.column_config.NumberColumn("Sample", format="%d"),
                "given": "Given label",
                "kind": "Kind",
                "words": "Who said what",
                "adjudicated": "Settled",
            },
        )
        if len(queue) > LISTED:
            st.caption(f"The first {LISTED:,} of {len(queue):,}; choose a reviewer, a label or a kind to see others.")
