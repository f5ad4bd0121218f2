"""The ways to choose a coreset: what each ranks by, which end it keeps, what it needs and what that means."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A way to choose: title, the score's column (None: it needs no score), which of its ends is kept, what that means.

    how: `score` takes the best, others are what `coreset` does. cleaned: samples whose label is suspect come last,
    whatever their score. needs: beyond the score, `embeddings` or the `last layer`. chance: the seed matters. pool: the
    share of each class that is left where a score only narrows the choice; at least twice the budget.
    """

    title: str
    column: str | None
    keep: str
    meaning: str
    how: str = "score"
    cleaned: bool = False
    needs: str = ""
    chance: bool = False
    pool: float = 0.0


FEW = 0.2  # share of the samples up to which what is kept should cover the rest; beyond, chance covers well enough


def recommended(share: float, embeddings: bool = True) -> str:
    """The method that `recommended` comes to where that share of the samples is kept, see docs/coresets-measured.md."""
    return "facility_cleaned" if share < FEW and embeddings else "random_cleaned"


METHODS: dict[str, Method] = {
    "recommended": Method(
        "Recommended",
        None,
        "any",
        "After cleaning: facility location where less than a fifth is kept, beyond that by chance.",
        how="recommended",
        cleaned=True,
        chance=True,
    ),
    "random": Method(
        "Random",
        None,
        "any",
        "By chance, every class in proportion to its size: the baseline that every other method has to beat.",
        chance=True,
    ),
    "cld": Method(
        "CLD, most aligned", "cld", "high", "Samples whose loss changes go with those of their class's validation mean."
    ),
    "cld_reversed": Method(
        "CLD, least aligned", "cld", "low", "The opposite end of CLD: a check that the ranking means something."
    ),
    "cld_cleaned": Method(
        "CLD after cleaning",
        "cld",
        "high",
        "As CLD, but samples flagged as label errors come last, unless an expert said that they are right.",
        cleaned=True,
    ),
    "cld_diverse": Method(
        "CLD with diversity",
        "cld",
        "high",
        "After cleaning, the most aligned twice the budget of each class, thinned: near neighbours are not kept both.",
        how="thinned",
        cleaned=True,
        needs="embeddings",
    ),
    "easy_diverse": Method(
        "Easy with diversity",
        "csl",
        "low",
        "After cleaning, facility location among the half of each class that was learned earliest.",
        how="thinned",
        cleaned=True,
        needs="embeddings",
        pool=0.5,
    ),
    "csl_easy": Method("CSL, easy", "csl", "low", "Samples that were learned early: safe, but often redundant."),
    "csl_hard": Method(
        "CSL, hard", "csl", "high", "Samples that were learned late or never: informative if clean, else label errors."
    ),
    "aum_easy": Method("AUM, easy", "aum", "high", "Samples whose given label won by the widest margin."),
    "aum_hard": Method(
        "AUM, hard", "aum", "low", "Samples whose given label barely won or lost: informative if clean, else errors."
    ),
    "el2n_easy": Method("EL2N, easy", "el2n", "low", "Samples whose predicted probabilities are near the label."),
    "el2n_hard": Method(
        "EL2N, hard",
        "el2n",
        "high",
        "Samples whose predicted probabilities are far from it (Paul et al., 2021).",
    ),
    "forgetting_easy": Method("Forgetting, easy", "forgetting", "low", "Samples that were never forgotten."),
    "forgetting_hard": Method(
        "Forgetting, hard",
        "forgetting",
        "high",
        "Samples forgotten most often, those never learned first (Toneva et al., 2019).",
    ),
    "curvature_low": Method(
        "Low curvature",
        "curvature",
        "low",
        "Samples around which the loss is flat: typical ones, not memorised (SLo-Curves).",
    ),
    "gradient_norm_low": Method(
        "Low input gradient", "gradient_norm", "low", "Easy samples, kept for adversarial robustness (EasyCore)."
    ),
    "ccs": Method(
        "Coverage of difficulty (CCS)",
        "aum",
        "any",
        "The hardest tenth is left out, the rest drawn evenly from 50 strata of AUM (Zheng et al., 2023).",
        how="strata",
        chance=True,
    ),
    "k_centre": Method(
        "k-centre",
        None,
        "any",
        "Each next sample is the one farthest from those before, in the embedding: it covers, and it likes outliers.",
        how="k_centre",
        needs="embeddings",
    ),
    "facility": Method(
        "Facility location",
        None,
        "any",
        "Samples near to all others of their class in the embedding, each for another part of it (CRAIG, MILO).",
        how="facility",
        needs="embeddings",
    ),
    "crust": Method(
        "Medoids of gradients (CRUST)",
        None,
        "any",
        "Facility location on the errors of the last layer, where wrong labels lie apart in small groups.",
        how="crust",
        needs="last layer",
    ),
    "grad_match": Method(
        "GRAD-MATCH",
        None,
        "any",
        "Samples whose weighted last-layer gradients add up to that of the whole class; the score is the weight.",
        how="grad_match",
        needs="last layer",
    ),
    "glister": Method(
        "GLISTER",
        None,
        "any",
        "Samples whose gradient step lowers the validation loss most, to first order in the last layer.",
        how="glister",
        needs="last layer",
    ),
    "random_plain": Method(
        "Random, not stratified",
        None,
        "any",
        "By chance over all classes together: small classes may be missed.",
        how="plain",
        chance=True,
    ),
    "random_cleaned": Method(
        "Random after cleaning",
        None,
        "any",
        "By chance, but samples flagged as label errors come last, unless an expert said that they are right.",
        cleaned=True,
        chance=True,
    ),
    "ccs_cleaned": Method(
        "Coverage of difficulty after cleaning",
        "aum",
        "any",
        "Samples flagged as label errors come last, the rest is drawn evenly from 50 strata of AUM.",
        how="strata",
        cleaned=True,
        chance=True,
    ),
    "facility_cleaned": Method(
        "Facility location after cleaning",
        None,
        "any",
        "Facility location among the samples that are not flagged as label errors.",
        how="facility",
        cleaned=True,
        needs="embeddings",
    ),
    "hard_cleaned": Method(
        "Hard after cleaning",
        "aum",
        "low",
        "The lowest AUM among the samples that are not flagged as label errors.",
        cleaned=True,
    ),
}


# The six that are worth choosing, best first: by their mean rank among all 28 methods in the 20 columns of
# docs/coresets-measured.md (200 steps) they come to 3.3 to 6.25, the next one to 8.05, random to 13.25.
FIRST = ("recommended", "random_cleaned", "forgetting_easy", "facility_cleaned", "ccs_cleaned", "easy_diverse")


# What to choose when: drawn from docs/coresets-measured.md (a small network on two datasets, 200 to 1,000 steps).
ADVICE: list[tuple[str, str, str]] = [
    (
        "In doubt",
        "recommended",
        "With wrong labels in the data it was 2 to 11 points above random; without, .7 below to 1.3 above",
    ),
    (
        "Less than a fifth is kept",
        "facility_cleaned",
        "Few samples should cover the rest, and a wrong label among few weighs more",
    ),
    ("A fifth or more is kept", "random_cleaned", "Chance covers well enough once the flagged labels are gone"),
    (
        "About five images of each class",
        "csl_easy",
        "The best on CIFAR-10N, where 5 easy images beat 5 that cover; not on Fashion-MNIST: measure both",
    ),
    (
        "Training is very short",
        "forgetting_easy",
        "Up to a point above recommended on a tenth of Fashion-MNIST in 200 steps; up to a point below it in 1,000",
    ),
    (
        "Labels may be wrong and nothing was cleaned",
        "random",
        "Hard ends, k-centre, facility location, GRAD-MATCH and CRUST collect the wrong labels: 2 to 77 points below "
        "random at 10 %",
    ),
    (
        "CLD",
        "cld_cleaned",
        "Alone it was no better than random at equal steps; it is evidence of what a sample does, rather than a budget",
    ),
]
