"""Consensus of made votes: the majority, cleanlab's CROWDLAB, ours of both kinds and their mean, by planted truth.

    python benchmarks/votes.py [--seeds 0 1 2]

Rows are kinds of votes, of annotators whose errors are independent of the image, and of annotators whom a quarter of
the images mislead (so is the model). Prints the share of wrong consensus labels, AUROC of the quality (low is wrong;
chance .500), the largest error of an annotator's estimated ability, what it is worth to ask again in some order, and
seconds of 20,000 votes beside cleanlab's.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from planted_votes import planted_votes, wide

from lossprint.scoring.votes.active import activelab
from lossprint.scoring.votes.consensus import consensus
from lossprint.scoring.votes.crowdlab import crowdlab
from lossprint.scoring.votes.table import Votes

MANY = tuple(np.random.default_rng(0).uniform(0.4, 0.95, 80))
KINDS = {
    "5 annotators, 3 votes each": {},
    "the same, poor model": {"model": 0.3},
    "the same, good model": {"model": 0.95},
    "two good, three poor": {"abilities": (0.95, 0.9, 0.5, 0.4, 0.3)},
    "5 votes each": {"each": 5},
    "2 votes each": {"each": 2},
    "1 vote each": {"each": 1},
    "80 annotators, 400 samples": {"abilities": MANY, "samples": 400, "classes": 10},
}
MISLEADING = {
    "misleading images": {},
    "the same, half of them": {"share": 0.5},
    "the same, 5 votes each": {"each": 5},
    "the same, 60 annotators": {"people": 60, "samples": 600},
}


def misleading(samples=1500, classes=10, people=12, each=3, share=0.25, seed=0):
    """Votes, truth and probabilities where a share of the images is called the next class by most, the model too."""
    random = np.random.default_rng(seed)
    truth, ability = random.integers(0, classes, samples), random.uniform(0.6, 0.97, people)
    who = np.argsort(random.random((samples, people)), axis=1)[:, :each]
    sample, annotator = np.repeat(np.arange(samples), each), who.ravel()
    hard, like = random.random(samples) < share, (truth + 1) % classes
    right = random.random(len(sample)) < ability[annotator] * np.where(hard[sample], 0.45, 1)
    other = (truth[sample] + random.integers(1, classes, len(sample))) % classes
    wrong = np.where(hard[sample] & (random.random(len(sample)) < 0.8), like[sample], other)
    named = np.where(random.random(samples) < 0.7, like, random.integers(0, classes, samples))
    named = np.where(random.random(samples) < np.where(hard, 0.42, 0.85), truth, named)
    logits = random.normal(size=(samples, classes))
    logits[np.arange(samples), named] += np.where(hard, 2, 3.5)
    p = np.exp(logits)
    return (
        Votes.of(sample, annotator, np.where(right, truth[sample], wrong), classes),
        truth,
        p / p.sum(1, keepdims=True),
    )


def peer(votes: Votes, p: np.ndarray, calibrated: bool):
    """cleanlab's consensus and its quality."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    if votes.each.max() == 1:  # which it refuses: the votes are the labels, the model's word their quality
        return votes.label, p[np.arange(votes.samples), votes.label]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = get_label_quality_multiannotator(
            wide(votes), p, calibrate_probs=calibrated, return_detailed_quality=False, verbose=False
        )["label_quality"]
    return told["consensus_label"].to_numpy(), told["consensus_quality_score"].to_numpy()


def measured(votes: Votes, truth: np.ndarray, p: np.ndarray) -> dict[str, tuple]:
    """By method: consensus (N,) and its quality (N,)."""
    ours = consensus(votes, np.log(p))
    alone = consensus(votes)
    spoken = ours.dawid_skene.posterior
    share = votes.counts.max(axis=1) / votes.each
    return {
        "majority": (ours.majority, share),
        "cleanlab": peer(votes, p, False),
        "cleanlab, calibrated": peer(votes, p, True),
        "ours: CROWDLAB": (ours.crowdlab.label, ours.crowdlab.quality),
        "ours: Dawid-Skene": (spoken.argmax(axis=1), spoken.max(axis=1)),
        "ours, as the program": (ours.label, ours.quality),
        "the same without model": (alone.label, alone.quality),
    }


def asked_again(seed: int, steps: int = 10) -> dict[str, list[float]]:
    """Share of wrong consensus labels after each of 10 rounds of 5 % more votes, by how the samples are chosen."""
    table = {}
    for way in ("ActiveLab", "as the program", "least sure consensus", "fewest agree", "by chance"):
        random = np.random.default_rng(seed)
        whole, truth, p = planted_votes(samples=1000, each=5, model=0.7, seed=seed)
        place = np.argsort(random.random(len(whole.sample)), kind="stable")  # in which order votes come in
        turn = np.empty(len(place), np.int64)
        for sample in range(whole.samples):
            rows = place[whole.sample[place] == sample]
            turn[rows] = np.arange(len(rows))
        count = np.full(whole.samples, 1 + 2 * (random.random(whole.samples) < 0.5))
        wrong = []
        for _ in range(steps + 1):
            seen = turn < count[whole.sample]
            votes = Votes.of(whole.sample[seen], whole.annotator[seen], whole.label[seen], whole.classes)
            together = consensus(votes, np.log(p))
            wrong.append(float((together.label != truth).mean()))
            score = {
                "ActiveLab": activelab(votes, together.crowdlab),
                "as the program": activelab(votes, together.crowdlab, together.quality),
                "least sure consensus": together.quality,
                "fewest agree": together.agreement,
                "by chance": random.random(whole.samples),
            }[way]
            score = np.where(count < 5, score, np.inf)
            count[np.argsort(score, kind="stable")[: whole.samples // 20]] += 1
        table[way] = wrong
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    wrong: dict[str, list[float]] = {}
    found: dict[str, list[float]] = {}
    names, worst = [], []
    for make, kinds in ((planted_votes, KINDS), (misleading, MISLEADING)):
        for name, shape in kinds.items():
            names.append(name)
            rows: dict[str, list[tuple[float, float]]] = {}
            for seed in options.seeds:
                shape = {"samples": 1500} | shape if make is planted_votes else shape
                votes, truth, p = make(seed=seed, **shape)
                for method, (label, quality) in measured(votes, truth, p).items():
                    error = label != truth
                    rows.setdefault(method, []).append((error.mean(), roc_auc_score(error, -quality)))
            for method, values in rows.items():
                wrong.setdefault(method, []).append(np.mean([value[0] for value in values]))
                found.setdefault(method, []).append(np.mean([value[1] for value in values]))
    for title, table in (("share of wrong consensus labels", wrong), ("AUROC of the quality", found)):
        print(f"\n{title}; columns: {', '.join(names)}, mean")
        for method, values in table.items():
            print(f"{method:<24}" + "".join(f"{value:>7.3f}" for value in [*values, np.mean(values)]))
    for seed in options.seeds:
        votes, truth, p = planted_votes(samples=834, seed=seed)
        real = votes.mean(votes.label == truth[votes.sample])
        told = consensus(votes)
        worst.append(
            (np.abs(told.dawid_skene.ability - real).max(), np.abs(told.crowdlab.annotator_quality - real).max())
        )
    print(
        "\nlargest error of an ability at about 500 votes each: ours, CROWDLAB's quality:", np.round(worst, 3).tolist()
    )
    rounds = [asked_again(seed) for seed in options.seeds]
    print("\nwrong consensus labels after 0, 2, ... 10 rounds of 5 % more votes, by which samples are asked about")
    for way in rounds[0]:
        values = np.mean([one[way] for one in rounds], axis=0)[::2]
        print(f"{way:<24}" + "".join(f"{value:>7.3f}" for value in values))
    votes, _, p = planted_votes(samples=6667, classes=10, seed=0)
    for name, call in (
        ("CROWDLAB, ours", lambda: crowdlab(votes, p)),
        ("as the program", lambda: consensus(votes, np.log(p))),
        ("cleanlab", lambda: peer(votes, p, False)),
    ):
        began = time.process_time()
        call()
        print(f"{name}: {time.process_time() - began:.2f} s of 20,001 votes, 10 classes")


if __name__ == "__main__":
    main()
