"""Annotators: who labels how well, who confuses what, what the votes come to, and who should look again?"""

import shlex

import numpy as np
import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.access import roles
from lossprint.app.elements import gallery
from lossprint.app.shared import drawer, parts, trust
from lossprint.app.shared.acting import picked
from lossprint.audit.review import votes
from lossprint.audit.types import LossprintError

LISTED = 200  # samples in a table
MATRIX = 25  # classes


def render(loaded: data.Loaded) -> None:
    parts.header("Annotators", "Who labels how well, who confuses what, and who should look again?")
    try:
        counted = trust.voted(loaded)
    except LossprintError as error:
        st.error(parts.md(error), icon=":material/error:")
        return
    if counted is None:
        parts.empty(
            "No votes were counted yet",
            "Bring the votes of several annotators or labelling functions, a row a vote (sample, annotator, label); "
            "what reviewers decide here counts as votes, too:",
            "how_to_vote",
        )
        st.code(f"lossprint votes {shlex.quote(str(loaded.run.path))} votes.csv", language=None, wrap_lines=True)
        return
    _counted_again(loaded)
    _numbers(counted)
    _people(counted)
    _one(loaded, counted)
    _differ(loaded, counted)
    _again(loaded, counted)


def _counted_again(loaded: data.Loaded) -> None:
    """Decisions are votes: counting is asked for, as it takes some seconds."""
    if not roles.may("owner"):
        return
    st.button(
        "Count again",
        key="votes-count",
        icon=":material/refresh:",
        on_click=_count,
        args=(loaded,),
        help="With the reviewers' decisions as they stand now.",
    )


def _count(loaded: data.Loaded) -> None:
    try:
        votes.count(loaded.run)
    except LossprintError as error:
        st.session_state["_error"] = f"The votes were not counted: {parts.md(error)}"


def _numbers(counted: trust.Voted) -> None:
    table = counted.consensus
    several = table["votes"] > 1
    grid = st.grid(4, min_column_width=190, gap="small")
    card = {"border": True, "height": "stretch"}
    grid.metric("Votes", f"{len(counted.votes):,}", help="Abstentions left out.", **card)
    grid.metric("Samples with two votes or more", f"{int(several.sum()):,}", **card)
    unanimous = (table["for_consensus"] == table["votes"])[several].mean() if several.any() else np.nan
    grid.metric("Of them unanimous", "–" if np.isnan(unanimous) else f"{100 * unanimous:.0f} %", **card)
    other = int((table["consensus"] != table["label"]).sum())
    grid.metric("Consensus is another label", f"{other:,}", help="Than the one that the dataset gives.", **card)
    if not several.any():
        st.info(
            "No sample has two votes: agreement is not known, and who is able cannot be told.", icon=":material/info:"
        )


def _people(counted: trust.Voted) -> None:
    st.subheader("Each annotator", anchor=False)
    people = counted.annotators
    config = st.column_config
    share = {"format": "%.0f %%", "min_value": 0, "max_value": 100}
    shown = people.assign(**{name: 100 * people[name] for name in ("ability", "quality", "coverage", "overlap")})
    shown = shown.assign(**{name: 100 * people[name] for name in ("conflict", "agreement", "with_consensus")})
    names = ["annotator", "votes", "ability", "quality", "agreement", "with_consensus", "conflict", "coverage"]
    st.dataframe(
        shown[[*names, "overlap", "few"]],
        hide_index=True,
        placeholder="–",
        alt="Each annotator's votes, least able first",
        column_config={
            "annotator": config.TextColumn("Annotator", pinned=True),
            "votes": "Votes",
            "ability": config.ProgressColumn(
                "Right", help="Estimated share of right votes (Dawid and Skene).", **share
            ),
            "quality": config.NumberColumn("CROWDLAB", format="%.0f %%", help="CROWDLAB's quality of the annotator."),
            "agreement": config.NumberColumn(
                "Agreement", format="%.0f %%", help="With others, over all pairs of votes on one sample."
            ),
            "with_consensus": config.NumberColumn("With consensus", format="%.0f %%"),
            "conflict": config.NumberColumn("Contradicted", format="%.0f %%"),
            "coverage": config.NumberColumn("Coverage", format="%.0f %%", help="Of the samples with votes."),
            "overlap": config.NumberColumn("Shared", format="%.0f %%", help="Votes on which somebody else votes."),
            "few": config.CheckboxColumn("Too few", help="Fewer than 30 shared votes: the numbers say little."),
        },
    )


def _one(loaded: data.Loaded, counted: trust.Voted) -> None:
    names = counted.annotators["annotator"].tolist()
    parts.dead_link("annotator", names, "annotator")
    name = st.selectbox("Annotator", names, key="annotator", bind="query-params")
    left, right = st.columns([6, 5], gap="large")
    with left:
        _confusion(loaded, counted, name)
    with right:
        _worst(loaded, counted, name)


def _confusion(loaded: data.Loaded, counted: trust.Voted, name: str) -> None:
    table = votes.confusion(counted.votes, counted.consensus, name, loaded.classes)
    st.markdown(f"**What {parts.md(name)} calls what**: the consensus in rows, the votes in columns")
    used = np.flatnonzero(table.sum(axis=0) + table.sum(axis=1))
    if len(used) <= MATRIX:
        labels = [loaded.classes[at] for at in used]
        frame = pd.DataFrame(table[np.ix_(used, used)], index=labels, columns=labels)
        st.dataframe(frame, alt=f"Confusions of {name}: a row a class by the consensus, a column a vote")
    pairs = [
        (loaded.classes[i], loaded.classes[j], int(table[i, j]), table[i, j] / table[i].sum())
        for i, j in np.argwhere((table > 0) & ~np.eye(len(table), dtype=bool))
    ]
    pairs.sort(key=lambda pair: -pair[2])
    for truth, said, count, share in pairs[:5]:
        st.caption(f"{parts.md(truth)} called {parts.md(said)}: {count:,} times, {100 * share:.0f} % of its votes")


def _worst(loaded: data.Loaded, counted: trust.Voted, name: str) -> None:
    mine = counted.votes[counted.votes["annotator"] == name].merge(
        counted.consensus[["sample", "consensus"]].reset_index(drop=True)
    )
    mine = mine[(mine["label"] != mine["consensus"]) & mine["sample"].isin(loaded.samples.index)]
    mine = mine.sort_values("quality", kind="stable").head(votes.WORST)
    st.markdown("**The ten worst votes**: the consensus least believes them")
    if mine.empty:
        st.caption("Every vote is the consensus.")
        return
    tiles = [
        parts.tile(
            loaded, row.sample, given=row.label, suggested=row.consensus, note=f"{100 * row.quality:.0f} % for the vote"
        )
        for row in mine.itertuples()
    ]
    parts.tell_missing(tiles)
    gallery(
        tiles,
        key="votes-worst",
        label=f"Worst votes of {name}",
        size="small",
        on_open=drawer.show,
    )


def _differ(loaded: data.Loaded, counted: trust.Voted) -> None:
    table = counted.consensus
    rows = table[table["consensus"] != table["label"]].sort_values("quality", ascending=False, kind="stable")
    st.subheader("The votes against the given label", anchor=False)
    if rows.empty:
        st.caption("The consensus is the given label wherever there are votes.")
        return
    st.caption(f"{parts.plural(len(rows), 'sample')}, the surest first. What is right is for people to decide.")
    tiles = [
        parts.tile(loaded, row.sample, given=row.label, suggested=row.consensus, note=votes.evidence(row))
        for row in rows.head(24).itertuples()
        if row.sample in loaded.samples.index
    ]
    gallery(
        tiles,
        key="votes-differ",
        label="Samples whose consensus is another label",
        on_open=drawer.show,
    )


def _again(loaded: data.Loaded, counted: trust.Voted) -> None:
    """Who should look again at what: the samples that one more vote tells most about, and the ablest who has none."""
    rows = counted.consensus.sort_values("again", kind="stable").head(LISTED)
    voters = counted.votes.groupby("sample")["annotator"].agg(set)
    able = counted.annotators.loc[~counted.annotators["few"]].sort_values("ability", ascending=False)["annotator"]
    whom = [next((name for name in able if name not in voters[sample]), "") for sample in rows["sample"]]
    st.subheader("Ask again", anchor=False)
    st.caption("Where one more vote would tell most (ActiveLab), and the ablest annotator who has not voted there.")
    parts.link("review", "Ask in Review, the most telling first", "rule", {"queue": picked.AGAIN})
    st.dataframe(
        pd.DataFrame(
            {
                "Sample": rows["sample"],
                "Given": rows["label"],
                "Consensus": rows["consensus"],
                "Sure": 100 * rows["quality"],
                "Votes": [votes.evidence(row) for row in rows.itertuples()],
                "Ask": whom,
            }
        ),
        hide_index=True,
        height=320,
        alt="Samples to ask about again, the most telling first",
        column_config={"Sure": st.column_config.NumberColumn(format="%.0f %%")},
    )
