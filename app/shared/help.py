"""What each score means: its formula, its source, and when not to trust it, beside a score of any page."""

import streamlit as st

from lossprint.app.shared import parts
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
    "head_curvature": r"\operatorname{tr}\,W^{\top}\big(\operatorname{diag}p-p\,p^{\top}\big)W",
    "trace": r"\operatorname{mean}_{t,\,r}\ \frac{r\cdot\big(\nabla_x l(x+hr)-\nabla_x l(x)\big)}{h}",
    "gradient_norm": r"\operatorname{mean}_{t}\ \lVert\nabla_x l(x)\rVert_2",
    "label_error": r"\begin{gathered}\tfrac12\Big(1-\frac{m}{1+|m|}\Big)\\ "
    r"m=\sum_t w_t\Big(z_y-\max_{k\ne y} z_k\Big)-\frac{c}{2}\end{gathered}",
    "sequence_label": r"\sigma\Big(\tfrac{x}{3}-1\Big),\quad x=\operatorname{mean}\log\frac{p_{k}}{p_y}-\log(1+n)",
    "sequence_order": r"\sigma\Big(\tfrac{x}{5}-1\Big),\quad x=\log\frac{P(\text{exchanged})}{P(\text{given})}",
    "response_loss": r"\frac{1}{T}\sum_{t=1}^{T} -\log p(r_t \mid q,\,r_{<t})",
    "ifd": r"\frac{\sum_t -\log p(r_t \mid q,\,r_{<t})}{\sum_t -\log p(r_t \mid r_{<t})}",
    "outlier": r"\frac{d_k}{d_k+f},\quad d_k = 1-\cos\big(e_i,\ e_{k\text{-th nearest}}\big)",
}
SYMBOLS = {
    "curvature": "*r*: random signs, ±1 for each input value; *h*: a step of 0.001 in normalised units.",
    "head_curvature": "*W*: the weights of the linear head (classes, features), last epoch; *p*: what it says.",
    "trace": "*r*: random signs, ±1 for each input value; *h*: a step of 0.001 in normalised units.",
    "forgetting": "Never right counts as most forgotten: *E* events.",
    "label_error": "*w*: the weight of a checkpoint, by its validation loss; *c*: how much more often this pair of "
    "labels is mixed up in training than on validation samples (logarithm).",
    "sequence_label": "*p*: what all judges say together, less what a label's being stated is worth; *k*: the label "
    "suggested for the span, *y*: the given one; *n*: other videos in which the judges make the same exchange.",
    "sequence_order": "*P*: how likely the order of phases is by the other videos, times how likely it is that frames "
    "that meet are neighbours. For exchanged labels: the smaller mean log-ratio of the two, at a threshold of 0.5.",
    "response_loss": "*q*: the prompt; *r*: its response of *T* tokens.",
    "ifd": "*q*: the prompt; *r*: its response.",
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
    "head_curvature": ("The second derivative of the cross-entropy of a linear model, in closed form", None),
    "trace": ("Hutchinson's estimator, as in the curvature paper", f"{ARXIV}2307.05831"),
    "gradient_norm": ("EasyCore", f"{ARXIV}2510.11018"),
    "label_error": ("Lossprint's own, built on the margin of AUM; measured in docs/measured", f"{ARXIV}2001.10528"),
    "sequence_label": ("Lossprint's own, after Loss Knows Best (video, 2026); measured in docs/measured", None),
    "sequence_order": ("Lossprint's own, after Loss Knows Best (video, 2026); measured in docs/measured", None),
    "response_loss": ("The mean cross-entropy of a language model over the tokens of a response", None),
    "ifd": ("Li et al., From Quantity to Quality (Cherry LLM)", f"{ARXIV}2308.12032"),
    "outlier": ("Ramaswamy et al., SIGMOD 2000; Sun et al., ICML 2022, for embeddings", f"{ARXIV}2204.06507"),
}
SUSPECT = {
    "high": ":orange-badge[:material/arrow_upward: high is suspect]",
    "low": ":orange-badge[:material/arrow_downward: low is suspect]",
    "none": ":gray-badge[neither end is suspect]",
}


def about(score: str) -> None:
    """A button with a score's name: it opens what the score means, its formula, and when not to trust it.

    Draws nothing for a name that is no score.
    """
    info = SCORES.get(score)
    if info is None:
        return
    with st.popover(info.title, icon=":material/help:", type="tertiary"):
        explained(info)
        parts.link("help", "More in Help", "help", {"score": score})


def explained(info: ScoreInfo) -> None:
    st.markdown(f"{SUSPECT[info.suspect]} :gray-badge[{parts.md(info.unit)}]")
    st.markdown(parts.md(info.meaning))
    if info.name in FORMULAS:
        st.markdown(rf"$\displaystyle {FORMULAS[info.name]}$")
    if info.name in SYMBOLS:
        st.caption(SYMBOLS[info.name])
    st.markdown(f":material/warning: **When not to trust it.** {parts.md(info.caution)}")
