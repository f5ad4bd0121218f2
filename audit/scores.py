"""What each column of scores.parquet means, in words that the pages, the report and the docs show. No I/O here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreInfo:
    """What one column of scores.parquet means. `suspect` is the end to look at first: high, low or none."""

    name: str
    title: str
    unit: str
    suspect: str
    meaning: str
    caution: str


SCORES: dict[str, ScoreInfo] = {
    info.name: info
    for info in (
        ScoreInfo(
            "cld",
            "CLD",
            "correlation, -1 to 1",
            "low",
            "Correlation of the sample's loss changes with those of its class's validation mean. High: learning this "
            "sample and generalising go together. Negative: they pull against each other.",
            "It ranks usefulness for training, not label errors. Noisy where a class has under 10 validation samples.",
        ),
        ScoreInfo(
            "ltc",
            "LTC",
            "correlation, -1 to 1",
            "low",
            "Correlation of the sample's loss trajectory itself with its class's validation mean.",
            "Almost every learnable sample is near 1, because almost every loss falls.",
        ),
        ScoreInfo(
            "csl",
            "CSL",
            "nats, mean over checkpoints",
            "high",
            "Cumulative sample loss: the mean loss over the run. High: the model took long to accept the label, or "
            "never did.",
            "Hard but correct samples are high as well. Early checkpoints at chance level dilute it.",
        ),
        ScoreInfo(
            "aum",
            "AUM",
            "logits, mean over checkpoints",
            "low",
            "Area under the margin: logit of the given label minus the largest other one. Negative: another label is "
            "preferred most of the time.",
            "Its scale grows with training length; compare within a run only.",
        ),
        ScoreInfo(
            "forgetting",
            "Forgetting events",
            "events",
            "high",
            "How often a right prediction was followed by a wrong one at the next checkpoint. Never right counts as "
            "most forgotten: one event for each checkpoint.",
            "Coarse: with few checkpoints most samples share a handful of values.",
        ),
        ScoreInfo(
            "el2n",
            "EL2N",
            "length, mean over checkpoints",
            "high",
            "Mean distance of the predicted probabilities from the given label (0: certain of it, at most 1.41).",
            "Hard but correct samples are high as well.",
        ),
        ScoreInfo(
            "p_mean",
            "Confidence",
            "probability, mean over checkpoints",
            "low",
            "Mean probability of the given label: the horizontal axis of a data map.",
            "Hard but correct samples are low as well.",
        ),
        ScoreInfo(
            "p_std",
            "Variability",
            "probability, deviation over checkpoints",
            "high",
            "Spread of the probability of the given label over the checkpoints. High: ambiguous, learned late or "
            "forgotten again.",
            "A wrong label that is never learned has little spread, like an easy sample.",
        ),
        ScoreInfo(
            "curvature",
            "Curvature",
            "gradient change per input step",
            "high",
            "How sharply the loss bends around the input, averaged over checkpoints. High: memorised, rare, mislabeled "
            "or conflicting.",
            "Depends on the input's normalisation; compare within a run only. High for rare but correct images too.",
        ),
        ScoreInfo(
            "head_curvature",
            "Head curvature",
            "per squared feature unit",
            "high",
            "Frozen features only: trace of the second derivative of the loss of the linear head, in its own features. "
            "In closed form from its probabilities and weights. High: the head wavers between classes.",
            "Knows no given label, and nothing of the image beyond its features. Not the curvature of an image.",
        ),
        ScoreInfo(
            "trace",
            "Hessian trace",
            "per squared input unit",
            "none",
            "Estimated trace of the loss's second derivative with respect to the input.",
            "Close to uninformative for networks with ReLU and max-pooling. Kept for smooth networks.",
        ),
        ScoreInfo(
            "gradient_norm",
            "Input-gradient norm",
            "nats per input unit",
            "high",
            "Mean length of the loss's gradient with respect to the input. Low: easy, the samples EasyCore keeps.",
            "Shrinks to zero for memorised samples late in training, whatever their label.",
        ),
        ScoreInfo(
            "label_error",
            "Label error",
            "severity, 0 to 1",
            "high",
            "How far ahead another label was of the given one, in logits, averaged over training; checkpoints count by "
            "their validation loss, and less where labels were already learned by heart; each class is judged by what "
            "is usual for it, and pairs of labels that are mixed up more often than on validation samples count more. "
            "Above 0.5: another label was clearly ahead. On frozen features it is a mean rank of heads out of fold "
            "instead, above 0.5 where head and neighbours both name another label.",
            "A ranking, not a probability that the label is wrong. Systematic errors that the model learns are "
            "invisible to it.",
        ),
        ScoreInfo(
            "sequence_label",
            "Wrong segment",
            "severity, 0 to 1",
            "high",
            "Video frames: how far ahead another label is of the given one, in nats, by judges that never saw the "
            "frame's video and by the trajectories of models that learnt it, each weighed by what it is worth on this "
            "dataset. Above 0.5 a stretch of them is a finding.",
            "It takes several videos. An error that all of them share is learned as if right.",
        ),
        ScoreInfo(
            "sequence_order",
            "Wrong order",
            "severity, 0 to 1",
            "high",
            "Video frames: how much likelier the order of phases and the joins between them become when two "
            "neighbouring blocks are exchanged, or how much better two phases of a video fit each other's labels. "
            "Above 0.5 two neighbouring ones are a finding.",
            "An order that is rare but right looks the same; frames shuffled within a phase are not seen.",
        ),
        ScoreInfo(
            "outlier",
            "Outlier",
            "severity, 0 to 1",
            "high",
            "Cosine distance to the k-th nearest neighbour in the trained network's embedding; k is a fifth of an "
            "average class, from 5 to 30. On frozen features NNGuide among 5 % of all samples, 50 at least, each by "
            "how sure the head is of it. Above 0.5: beyond the upper fence of this dataset's distances.",
            "Rare but valid images are far from others too, and so is a whole class with fewer than about k images. "
            "Foreign images that share the features of a class are missed.",
        ),
        ScoreInfo(
            "response_loss",
            "Response loss",
            "nats a token",
            "high",
            "Prompt/response pairs only: mean loss of the response's tokens after the prompt, by the language model "
            "that read them. High: a response that the model did not expect.",
            "Short responses and rare words are high as well, whatever the prompt; texts of another language or form "
            "come first.",
        ),
        ScoreInfo(
            "ifd",
            "IFD",
            "ratio",
            "high",
            "Prompt/response pairs only: loss of the response after its prompt over that of the response alone. Above "
            "1 the prompt does not help: a response to something else. Far below 1 it gives the response away.",
            "It is as good as the model: one that cannot use a prompt is near 1 for all. Wrong answers of the right "
            "kind are missed.",
        ),
    )
}
