"""Help: what does each score mean, and when should one not trust it? Also the popover and the first-run tour."""

import streamlit as st

from lossprint.app import data
from lossprint.app.shared import decide, parts
from lossprint.audit.scores import SCORES, ScoreInfo

NOTATION = (
    "Sample *i* with its given label *y*; checkpoints *t* = 1 … *E*; *l* its loss in nats (natural logarithm); *p* the "
    "probability and *z* the logit that the model gives a class; *v* the mean loss of the validation samples of the "
    "sample's class."
)
FORMULAS = {
    "cld": r"\operatorname{corr}_t\big(l_i(t{+}1)-l_i(t),\ v(t{+}1)-v(t)\big)",
    "ltc": r"\operatorname{corr}_t\big(l_i(t),\ v(t)\big)",
    "csl": r"\frac{1}{E}\sum_{t} l_i(t)",
    "aum": r"\frac{1}{E}\sum_{t} \Big(z_y(t)-\max_{k\ne y} z_k(t)\Big)",
    "forgetting": r"\#\,\{t : i \text{ right at } t,\ \text{wrong at } t{+}1\}",
    "el2n": r"\frac{1}{E}\sum_{t} \lVert p(t)-\operatorname{onehot}(y)\rVert_2",
    "p_mean": r"\mu=\frac{1}{E}\sum_{t} p_y(t),\quad p_y=e^{-l_i}",
    "p_std": r"\sqrt{\frac{1}{E}\sum_{t} \big(p_y(t)-\mu\big)^2}",
    "curvature": r"\operatorname{mean}_{t,\,r}\ \frac{\lVert\nabla_x l(x+hr)-\nabla_x l(x)\rVert_2}{h}",
    "trace": r"\operatorname{mean}_{t,\,r}\ \frac{r\cdot\big(\nabla_x l(x+hr)-\nabla_x l(x)\big)}{h}",
    "gradient_norm": r"\operatorname{mean}_{t}\ \lVert\nabla_x l(x)\rVert_2",
    "label_error": r"\begin{gathered}\tfrac12\Big(1-\frac{m}{1+|m|}\Big)\\ "
    r"m=\sum_t w_t\Big(z_y-\max_{k\ne y} z_k\Big)-\frac{c}{2}\end{gathered}",
    "sequence_label": r"\sigma\Big(\tfrac{x}{3}-1\Big),\quad x=\operatorname{mean}\log\frac{p_{k}}{p_y}-\log(1+n)",
    "sequence_order": r"\sigma\Big(\tfrac{x}{5}-1\Big),\quad x=\log\frac{P(\text{exchanged})}{P(\text{given})}",
    "outlier": r"\frac{d_k}{d_k+f},\quad d_k = 1-\cos\big(e_i,\ e_{k\text{-th nearest}}\big)",
}
SYMBOLS = {
    "curvature": "*r*: random signs, ±1 for each input value; *h*: a step of 0.001 in normalised units.",
    "trace": "*r*: random signs, ±1 for each input value; *h*: a step of 0.001 in normalised units.",
    "forgetting": "Never right counts as most forgotten: *E* events.",
    "label_error": "*w*: the weight of a checkpoint, by its validation loss; *c*: how much more often this pair of "
    "labels is mixed up in training than on validation samples (logarithm).",
    "sequence_label": "*p*: held-out probabilities of the model over time; *k*: the label suggested for the span, *y*: "
    "the given one; *n*: other videos in which the model makes the same exchange.",
    "sequence_order": "*P*: how likely the order of phases is by the other videos, times how likely it is that frames "
    "that meet are neighbours. For exchanged labels: the smaller mean log-ratio of the two, at a threshold of 0.5.",
    "outlier": "*e*: the network's embedding of an image; *f*: the upper fence of all such distances, 1.25 "
    "interquartile ranges above the third quartile on a logarithmic scale.",
}
ARXIV = "https://arxiv.org/abs/"
# score -> (what to cite, link or None)
PAPERS = {
    "cld": ("Coresets from Trajectories", f"{ARXIV}2508.20230"),
    "ltc": ("Finding the Muses: loss trajectory correlation", f"{ARXIV}2503.09721"),
    "csl": ("Loss Knows Best (video, 2026), and its image form, ICML 2025", None),
    "aum": ("Pleiss et al., Identifying Mislabeled Data using the Area Under the Margin", f"{ARXIV}2001.10528"),
    "forgetting": ("Toneva et al., An Empirical Study of Example Forgetting", f"{ARXIV}1812.05159"),
    "el2n": ("Paul et al., Deep Learning on a Data Diet", f"{ARXIV}2107.07075"),
    "p_mean": ("Swayamdipta et al., Dataset Cartography", f"{ARXIV}2009.10795"),
    "p_std": ("Swayamdipta et al., Dataset Cartography", f"{ARXIV}2009.10795"),
    "curvature": ("Memorization Through the Lens of Curvature of Loss Function Around Samples", f"{ARXIV}2307.05831"),
    "trace": ("Hutchinson's estimator, as in the curvature paper", f"{ARXIV}2307.05831"),
    "gradient_norm": ("EasyCore", f"{ARXIV}2510.11018"),
    "label_error": ("Lossprint's own, built on the margin of AUM; measured in its README", f"{ARXIV}2001.10528"),
    "sequence_label": ("Lossprint's own, after Loss Knows Best (video, 2026); measured in its README", None),
    "sequence_order": ("Lossprint's own, after Loss Knows Best (video, 2026); measured in its README", None),
    "outlier": ("Ramaswamy et al., SIGMOD 2000; Sun et al., ICML 2022, for embeddings", f"{ARXIV}2204.06507"),
}
SUSPECT = {
    "high": ":orange-badge[:material/arrow_upward: high is suspect]",
    "low": ":orange-badge[:material/arrow_downward: low is suspect]",
    "none": ":gray-badge[neither end is suspect]",
}
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
    "Frame": "One picture of a video. *Sequence*: the video it belongs to. *Phase*: frames in a row with one label.",
    "Segment": "A stretch of frames that looks wrong as a whole, asked and decided as one question: a *wrong label*, "
    "the labels of two neighbouring phases *exchanged*, or two blocks of frames *moved*, pictures and labels, in time.",
    "Model over time": "A network that sees a whole video in order. What it says of a video comes from networks that "
    "were trained on the other videos only.",
    "Seam": "Where one frame meets the next. Where a block was moved, its ends meet frames that do not continue it.",
    "Outlier": "An image far from all others in the network's embedding: broken, foreign, or rare and worth keeping.",
    "Embedding": "The numbers by which the trained network describes an image, just before it decides on a class.",
    "Coreset": "A smaller part of the training set, chosen so that a model trained on it does nearly as well.",
    "Severity": "How bad a finding looks, from 0 to 1, comparable between classes. A reading order, not a probability.",
    "Triage": "A first sorting. *Wrong*: one other label was ahead steadily and with confidence. *Ambiguous*: ahead, "
    "but not so. *Hard*: the given label was ahead, with less than half of the probability.",
    "Tier": "How much a question asks. *Verify*: one confident suggestion, yes or no. *Correct*: choose among a few "
    "likely labels. *Look closer*: ambiguous, a group of images, or a segment of video.",
    "Blind": "A question that hides the given label or the suggestion, since what is shown pulls answers to it.",
    "Random audit": "Questions on samples that nothing flagged, picked by chance: they tell what the ranking missed.",
    "Reviewer agreement": "How often reviewers say the same. *Kappa* and *alpha* take off what chance would give: "
    "1 is full agreement, 0 that of coin tosses.",
    "Adjudication": "A decision that settles a disagreement. It outweighs what the reviewers said.",
    "Rank confidence": "In how many of 100 trials, with the checkpoints drawn anew, a sample stays among the flagged.",
    "Memorised": "Learned by heart: the loss is low although nothing general was learned. Wrong labels often end so.",
}
# where, keys, what they do
KEYS = (
    ("Thumbnails", "← → ↑ ↓, Home, End", "move from one to the next"),
    ("Thumbnails", "Enter, or a click", "open the sample"),
    ("Mislabeled, Outliers", "Space, Ctrl + click", "select one, or no longer"),
    ("Mislabeled, Outliers", "Shift with an arrow, Space or a click", "select a range"),
    ("Mislabeled, Outliers", "Ctrl + A, Esc", "select all of the page, none"),
    ("Mislabeled, Outliers", "A, K, X, N, U, 1 to 9", "decide on the selected, else on what is in focus"),
    ("An opened sample", "← →, Esc", "the previous one, the next one, close it"),
    ("Deciding", "A", "accept the suggested label; of duplicates: keep one copy"),
    ("Deciding", "K", "keep the given label; of duplicates: keep all"),
    ("Deciding", "X", "exclude from the cleaned dataset"),
    ("Deciding", "N", "not sure: leave it to somebody else"),
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
    ("Anywhere one decides", "U", "undo your last decision"),
)
# title, what, page, the words of its link, icon
STEPS = (
    (
        "The loss print",
        "While a model learned your dataset, Lossprint wrote down its loss on every sample: the *loss print*. It falls "
        "early for clear samples, late for hard ones, and hardly ever for wrong labels.",
        "prints",
        "See loss prints",
        "show_chart",
    ),
    (
        "The worst labels",
        "Samples whose label the model kept doubting, the most suspicious first, beside the label it preferred. Look "
        "at some: you see at once whether it has a point.",
        "labels",
        "See the worst labels",
        "label_off",
    ),
    (
        "Decide",
        "One question at a time: is the label right, wrong, or is the sample useless? Your own eye decides; keys make "
        "it quick, and U takes a decision back.",
        "review",
        "Start deciding",
        "rule",
    ),
    (
        "Export",
        "Take along what you decided: the findings, the cleaned dataset with the reason beside each change, or a "
        "smaller training set. The source dataset is never edited.",
        "export",
        "See the exports",
        "download",
    ),
)
OVER_TIME = (  # instead of the worst labels, where the dataset is of videos
    "The worst segments",
    "Stretches of a video whose label or place does not fit, the most suspicious first, beside what the model over "
    "time makes of them. Look at some: you see at once whether it has a point.",
    "sequences",
    "See the videos",
    "movie",
)
VIDEOS = (
    (
        "What is looked for.",
        "Errors that cover a stretch of frames, not single ones: a phase or a part of it under a wrong label, a phase "
        "that goes on too long, the labels of two neighbouring phases exchanged, a block of frames in another's place.",
    ),
    (
        "How.",
        "The videos are dealt into folds. For each fold a network of single frames, then a model over time on its "
        "features, learn from the other videos and look at those of the fold, so no video is judged by a model that "
        "learned its labels. A *wrong label*: another label is ahead for a whole stretch. *Exchanged labels*: each of "
        "two neighbouring phases looks like the other one. *Moved blocks*: putting two blocks in each other's place "
        "makes the order of phases one that other videos have, and the pictures go on smoothly at the seams.",
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
        "Accepting relabels all frames of the segment, or deals their frame numbers anew; the export says so of each "
        "frame. The dataset itself is never edited.",
    ),
)
COOKIE = "lossprint_tour"
TOUR = "_tour"  # `closed` or `open`; unset: as the browser's cookie says


# ---------------------------------------------------------------------------------------------- beside a score


def about(score: str) -> None:
    """A button with a score's name: it opens what the score means, its formula, and when not to trust it.

    Draws nothing for a name that is no score.
    """
    info = SCORES.get(score)
    if info is None:
        return
    with st.popover(info.title, icon=":material/help:", type="tertiary"):
        _explained(info)
        parts.link("help", "More in Help", "help", {"score": score})


def _explained(info: ScoreInfo) -> None:
    st.markdown(f"{SUSPECT[info.suspect]} :gray-badge[{parts.md(info.unit)}]")
    st.markdown(parts.md(info.meaning))
    if info.name in FORMULAS:
        st.markdown(rf"$\displaystyle {FORMULAS[info.name]}$")
    if info.name in SYMBOLS:
        st.caption(SYMBOLS[info.name])
    st.markdown(f":material/warning: **When not to trust it.** {parts.md(info.caution)}")


# ---------------------------------------------------------------------------------------------- the first visit


def tour(loaded: data.Loaded) -> None:
    """Four steps for a browser's first visit, until they are dismissed or something is decided in this run.

    The dismissal is kept in the session and, for later visits, in a cookie of this site: the server reads it before it
    draws, so nothing flashes up. Where cookies are off the tour comes back with each visit. Help opens it again.
    """
    state = st.session_state.get(TOUR)
    if state == "closed":
        parts.keep_cookie(COOKIE, "closed", key="tour-remember")
        return
    if state is None and (st.context.cookies.get(COOKIE) == "closed" or decide.decided(loaded)):
        return
    with st.container(border=True, key="tour"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(":material/waving_hand: **New here?** Four steps, about a minute.")
            st.space("stretch")
            st.button(
                "Got it", key="tour-close", icon=":material/close:", type="tertiary", on_click=_set_tour("closed")
            )
        _steps(loaded)


def _set_tour(state: str):
    def change() -> None:
        st.session_state[TOUR] = state

    return change


def _steps(loaded: data.Loaded) -> None:
    videos = data.videos(loaded) is not None and loaded.of_kind("label_error").empty
    steps = [OVER_TIME if videos and step[2] == "labels" else step for step in STEPS]
    grid = st.grid(len(steps), min_column_width=210, gap="medium")
    for at, (title, text, page, words, icon) in enumerate(steps):
        with grid.cell(), st.container(gap="xxsmall"):
            st.markdown(f"**{at + 1}. {title}**")
            st.markdown(text)
            parts.link(page, words, icon)


# ---------------------------------------------------------------------------------------------- the page


def render(loaded: data.Loaded) -> None:
    parts.header("Help", "What does each score mean, and when should one not trust it?")
    chosen = st.query_params.get("score", "")
    if chosen in SCORES:
        with st.container(border=True):
            _score(loaded, SCORES[chosen])
        parts.link("help", "All scores and the rest of Help", "arrow_back")
    st.header("A first visit", anchor="first-visit")
    _steps(loaded)
    if st.session_state.get(TOUR) == "open":
        st.caption("It is on the overview again.")
    else:
        st.button(
            "Show this on the overview again", key="tour-open", icon=":material/replay:", on_click=_set_tour("open")
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
