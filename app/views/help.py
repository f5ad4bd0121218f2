"""Help: what does each score mean, and when should one not trust it? Also the words, the keys, a first visit."""

import streamlit as st

from lossprint.app import data
from lossprint.app.elements.keys import KEYS as DECIDING
from lossprint.app.shared import parts, tour
from lossprint.app.shared.help import FORMULAS, NOTATION, PAPERS, SUSPECT, SYMBOLS
from lossprint.audit.scores import SCORES, ScoreInfo
from lossprint.audit.types import ALONE, KIND_WORDS

GLOSSARY = {
    "Sample": "One image, one text, or one frame of a video. Its number stays the same in every run of a dataset.",
    "Label": "The class of a sample. *Given*: what the dataset says. *Suggested*: what the model preferred instead.",
    "Checkpoint": "A moment of training at which the loss of every sample is written down, as a rule after each epoch.",
    "Loss": "How surprised the model is by the given label: 0 if it was sure, 0.69 nats at a probability of one half.",
    "Loss print": "The losses of one sample at all checkpoints: how the model took to it. Every score starts from it.",
    "Validation sample": "A sample that the model was not trained on. Its label is trusted, and it serves as evidence.",
    "Aligned": "Two samples whose losses rise and fall together: what teaches one helps the other.",
    "Conflicting": "Two samples of which one improves while the other gets worse: a wrong label, or a hard case.",
    "Near duplicate": "Almost the same image: shifted, mirrored, resized, compressed; or text: a few words changed. "
    "*Exact*: the same pixels or words.",
    "Frame": "One picture of a video. *Sequence*: the video it belongs to. *Phase*: consecutive frames with one label.",
    "Span": "Consecutive frames that are one finding, asked and decided as one question: a *wrong label*, the labels "
    "of two neighbouring phases *exchanged*, or two blocks of frames *moved*, pictures and labels, in time.",
    "Model over time": "A network that sees a whole video in order. Some have never seen the video that they judge "
    "(*held out*); one has learnt all of them, and what it was slow to believe is suspect.",
    "Seam": "Where one frame meets the next. Where a block was moved, its ends meet frames that do not continue it.",
    "Outlier": "An image far from all others in the network's embedding: broken, foreign, or rare and worth keeping.",
    "Embedding": "The numbers by which the trained network describes an image, just before it decides on a class.",
    "Coreset": "A smaller part of the training set, chosen so that a model trained on it does nearly as well.",
    "Severity": "How bad a finding looks, from 0 to 1, comparable between classes. A reading order, not a probability.",
    "Triage": "A first sorting. *Wrong*: one other label was ahead steadily and with confidence. *Ambiguous*: ahead, "
    "but not so, or the network knows the class too little. *Hard*: not flagged, with less than half of the "
    "probability for the given label.",
    "Tier": "How much a question asks. *Verify*: one confident suggestion, yes or no. *Correct*: choose among a few "
    "likely labels. *Look closer*: ambiguous, a group of images, or a span of video.",
    "Blind": "A question that hides the given label or the suggestion, since what is shown pulls answers to it.",
    "Random audit": "Questions on samples that nothing flagged, picked by chance: they tell what the ranking missed.",
    "Reviewer agreement": "How often reviewers say the same. *Kappa* and *alpha* take off what chance would give: "
    "1 is full agreement, 0 that of coin tosses.",
    "Adjudication": "A decision that settles a disagreement. It outweighs what the reviewers said.",
    "Rank confidence": "In how many of 100 trials, with the checkpoints drawn anew, a sample stays among the flagged.",
    "Memorised": "Learned by heart: the loss is low although nothing general was learned. Wrong labels often end so.",
}
FINDINGS = ", ".join(KIND_WORDS[kind][0] for kind in ALONE)  # the pages with galleries
# where, keys, what they do
KEYS = (
    ("Thumbnails", "← → ↑ ↓, Home, End", "move from one to the next"),
    ("Thumbnails", "Enter, or a click", "open the sample"),
    (FINDINGS, "Space, Ctrl + click", "select one, or no longer"),
    (FINDINGS, "Shift with an arrow, Space or a click", "select a range"),
    (FINDINGS, "Ctrl + A, Esc", "select all of the page, none"),
    (FINDINGS, f"{', '.join(DECIDING.values())}, 1 to 9", "decide on the selected, else on what is in focus"),
    ("An opened sample", "← →, Esc", "the previous one, the next one, close it"),
    ("Deciding", DECIDING["accept"], "accept the suggested label; of duplicates: keep one copy"),
    ("Deciding", DECIDING["keep"], "keep the given label; of duplicates: keep all"),
    ("Deciding", DECIDING["exclude"], "exclude from the cleaned dataset"),
    ("Deciding", DECIDING["unsure"], "not sure: leave it to somebody else"),
    ("Deciding", "1 to 9, 0", "one of the other labels; of duplicates: which stays"),
    ("Review", "/, C", "search a label, write a comment; Enter leaves it"),
    ("Review", "S, Z", "skip to the next question; enlarge the image"),
    ("Disagreements", "1 to 9, K, X, N", "settle it: what a reviewer said, keep, exclude, unsure"),
    ("Sequences", "P, J", "the previous finding, the next one"),
    (
        "Sequences",
        "[ and ], then ← →; + and -",
        "choose an end and move it, with Shift by 10 frames; closer, further away",
    ),
    ("Anywhere one decides", DECIDING["undo"], "undo your last decision"),
)
VIDEOS = (
    (
        "What is looked for.",
        "Errors that cover a stretch of frames, not single ones: a phase or a part of it under a wrong label, a phase "
        "that goes on too long, the labels of two neighbouring phases exchanged, a block of frames in another's place.",
    ),
    (
        "How.",
        "The videos are dealt into folds. For each fold a model of single frames, on features of a frozen backbone or "
        "on light, colours and texture, then a model over time learn from the other videos and look at those of the "
        "fold; where networks of single frames are right more often, they are heard instead. A model of single frames "
        "alone cannot see disorder: two phases that look alike may have each other's labels. Other judges train on the "
        "videos themselves, and their losses over training tell which labels they were slow to believe. Errors made "
        "on purpose in a copy of the labels show what each judge is worth on this dataset, and it weighs as much. A "
        "*wrong label*: another label is ahead for a whole stretch. *Exchanged labels*: each of two neighbouring "
        "phases looks like the other one. *Moved blocks*: putting two blocks in each other's place makes the order of "
        "phases one that other videos have, and the pictures go on smoothly at the seams.",
    ),
    (
        "What it cannot see.",
        "An error that most videos share: it is learned as if right. Frames shuffled within a phase, and stretches of "
        "a few frames. An order that is rare but right looks like a wrong one, and so does a phase that only one video "
        "has. With two or three videos there is no order to learn. Where exactly a phase ends is often a matter of "
        "definition: move the ends before you accept.",
    ),
    (
        "What a decision does.",
        "Accepting relabels all frames of the span, or deals their frame numbers anew; the export says so of each "
        "frame. The dataset itself is never edited.",
    ),
)


def render(loaded: data.Loaded) -> None:
    parts.header("Help", "What does each score mean, and when should one not trust it?")
    chosen = st.query_params.get("score", "")
    if chosen in SCORES:
        with st.container(border=True):
            _score(loaded, SCORES[chosen])
        parts.link("help", "All scores and the rest of Help", "arrow_back")
    st.header("A first visit", anchor="first-visit")
    tour.steps(loaded)
    if st.session_state.get(tour.TOUR) == "open":
        st.caption("It is on the overview again.")
    else:
        st.button(
            "Show this on the overview again",
            key="tour-open",
            icon=":material/replay:",
            on_click=tour.set_state("open"),
        )
    st.header("The scores", anchor="scores")
    st.caption(NOTATION)
    with st.container(horizontal=True, gap="small"):
        for name, info in SCORES.items():
            parts.link("help", info.title, "functions", {"score": name})
    for name, info in SCORES.items():
        if name != chosen:
            with st.container(border=True):
                _score(loaded, info)
    st.header("Videos", anchor="videos")
    for title, text in VIDEOS:
        st.markdown(f"**{title}** {text}")
    parts.link("sequences", "Open Sequences", "movie")
    st.header("Words", anchor="words")
    st.markdown("  \n".join(f"**{word}.** {meaning}" for word, meaning in GLOSSARY.items()))
    st.header("Keys", anchor="keys")
    rows = "\n".join(f"| {where} | {keys} | {what} |" for where, keys, what in KEYS)
    st.markdown(f"| where | keys | what they do |\n| --- | --- | --- |\n{rows}")


def _score(loaded: data.Loaded, info: ScoreInfo) -> None:
    left, right = st.columns([2, 3], gap="medium", vertical_alignment="center")
    with left:
        st.subheader(info.title, anchor=info.name)
        st.markdown(f"{SUSPECT[info.suspect]} :gray-badge[{parts.md(info.unit)}]")
        st.markdown(rf"$\displaystyle {FORMULAS[info.name]}$")
        if info.name in SYMBOLS:
            st.caption(SYMBOLS[info.name])
    with right:
        st.markdown(parts.md(info.meaning))
        st.markdown(f":material/warning: **When not to trust it.** {parts.md(info.caution)}")
        title, address = PAPERS[info.name]
        # Not a caption: paler still, its link would be hard to read.
        st.markdown(f":small[From: [{title}]({address})]" if address else f":small[From: {title}]")
        if not loaded.has(info.name):
            st.caption(":material/info: This run does not have it.")
