"""Which training samples does a model give away: LT-IQR of one training beside an attack with many shadow models.

    python benchmarks/exposure.py SOURCE [--images N] [--shadows S] [--epochs E] [--seeds K] [--cache FILE.npz]

SOURCE is a folder of gzipped IDX files, such as Debian's dataset-fashion-mnist. S small networks are trained, each on a
random half of N images, and K targets as well, whose losses of all N images are recorded after every epoch. A member of
a target is at risk where LiRA (arXiv 2112.03570), by the S shadows, finds it at a false positive rate of .1 %. Printed:

1. Precision among the 1, 3, 5 and 10 % of a target's members that a score ranks first, and Spearman's correlation with
   LiRA's ratio: LT-IQR of its losses, the same with what was never learnt last (as the program ranks), the final loss,
   the norms of the gradients of input and of weights, memorization by the shadows, chance.
2. The attacks themselves, on all N images: AUROC and the share found at 1 and .1 %: plain loss, LiRA, and the
   curvature of "Curvature Clues" (arXiv 2407.02747), its variance slip left out, in ratio and for the shadows alone.
3. Canaries, in targets of their own: 2 % with a label at random, 2 % of right images four times each. AUROC of being
   ranked above the others; .5 is chance.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from lossprint.assets.make_demo import read_idx
from lossprint.scoring import membership as curvature_of
from lossprint.scoring.memorized import exposure, membership
from lossprint.scoring.memorized.memorization import memorization

SHARES = (0.01, 0.03, 0.05, 0.1)
CANARIES, COPIES = 0.02, 4


@dataclass(frozen=True)
class Plan:
    epochs: int = 40
    shift: int = 0  # pixels, drawn a batch
    batch: int = 64
    rate: float = 0.05
    decay: float = 5e-4
    draws: int = 3  # of a curvature


def load(source: Path, images: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = read_idx(source / "train-images-idx3-ubyte.gz").astype(np.float32) / 255
    labels = read_idx(source / "train-labels-idx1-ubyte.gz").astype(np.int64)
    rows = np.random.default_rng(seed).permutation(len(labels))[:images]
    inputs = torch.from_numpy(pixels[rows])[:, None]
    return (inputs - inputs.mean()) / inputs.std(), torch.from_numpy(labels[rows])


def network() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def trained(inputs, labels, rows: np.ndarray, plan: Plan, seed: int, record: bool = False):
    """A network trained on the rows; the losses (E, N) of all inputs after each epoch."""
    torch.manual_seed(seed)
    net, random = network(), np.random.default_rng(seed)
    optimizer = torch.optim.SGD(net.parameters(), plan.rate, momentum=0.9, nesterov=True, weight_decay=plan.decay)
    parts = max(len(rows) // plan.batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.epochs * parts)
    trace = []
    for _ in range(plan.epochs):
        for at in np.array_split(random.permutation(rows), parts):
            down, right = random.integers(-plan.shift, plan.shift + 1, 2)
            optimizer.zero_grad(set_to_none=True)
            images = torch.roll(inputs[at], (int(down), int(right)), (2, 3)) if plan.shift else inputs[at]
            functional.cross_entropy(net(images), labels[at]).backward()
            optimizer.step()
            schedule.step()
        if record:
            trace.append(losses_of(net, inputs, labels))
    return net.eval(), np.stack(trace) if record else None


@torch.inference_mode()
def losses_of(net, inputs, labels) -> np.ndarray:
    """In float64, so that the losses of what is known by heart keep their order."""
    parts = [
        functional.cross_entropy(net(images).double(), some, reduction="none")
        for images, some in zip(inputs.split(1000), labels.split(1000))
    ]
    return torch.cat(parts).numpy()


def curvature(net, inputs, labels, draws: int) -> np.ndarray:
    batches = ((np.arange(at, at + len(some)), inputs[at : at + len(some)], some) for at, some in blocks(labels))
    return curvature_of(net, batches, draws=draws)[1]


def blocks(labels, size: int = 1000):
    return ((at, labels[at : at + size]) for at in range(0, len(labels), size))


def gradient_norms(net, inputs, labels) -> tuple[np.ndarray, np.ndarray]:
    """Of each sample's loss with respect to the input and to all weights, (N,) each."""
    weights = dict(net.named_parameters())

    def loss(weights, image, label):
        return functional.cross_entropy(torch.func.functional_call(net, weights, (image[None],)), label[None])

    both = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(None, 0, 0))
    by_input, by_weights = [], []
    for images, some in zip(inputs.split(200), labels.split(200)):
        slopes, slope = both(weights, images, some)
        by_input.append(slope.flatten(1).norm(dim=1))
        by_weights.append(torch.stack([one.flatten(1).norm(dim=1) for one in slopes.values()]).norm(dim=0))
    return torch.cat(by_input).detach().numpy(), torch.cat(by_weights).detach().numpy()


def measure(inputs, labels, shadows: int, seeds: int, plan: Plan) -> dict[str, np.ndarray]:
    """All models' answers: member, loss, curvature and right of shadows (S, N), of targets (K, N); targets' traces."""
    names = ("member", "loss", "curvature", "right")
    kept: dict[str, list] = {name: [] for name in (*names, "trace", "by_input", "by_weights")}
    for number in range(shadows + seeds):
        target = number >= shadows
        member = np.zeros(len(labels), bool)
        member[np.random.default_rng(number).permutation(len(labels))[: len(labels) // 2]] = True
        net, trace = trained(inputs, labels, np.flatnonzero(member), plan, number, record=target)
        loss = losses_of(net, inputs, labels)
        with torch.inference_mode():
            right = torch.cat([net(part).argmax(1) for part in inputs.split(1000)]) == labels
        for name, value in zip(names, (member, loss, curvature(net, inputs, labels, plan.draws), right.numpy())):
            kept[name].append(value)
        if target:
            kept["trace"].append(trace)
            for name, value in zip(("by_input", "by_weights"), gradient_norms(net, inputs, labels)):
                kept[name].append(value)
    return {name: np.stack(values) for name, values in kept.items()}


def canaries(inputs, labels, seeds: int, plan: Plan) -> dict[str, list[dict[str, float]]]:
    """AUROC of each kind of canary against the untouched members, of each score, a target a seed."""
    count, table = round(CANARIES * len(labels) / 2), {"labels at random": [], "copied four times": []}
    for seed in range(seeds):
        random = np.random.default_rng(1000 + seed)
        rows = random.permutation(len(labels))[: len(labels) // 2]
        wrong, copied = rows[:count], rows[count : 2 * count]
        given = labels.clone()
        given[wrong] = (given[wrong] + torch.from_numpy(random.integers(1, 10, count))) % 10
        net, trace = trained(
            inputs, given, np.concatenate([rows, np.repeat(copied, COPIES - 1)]), plan, 1000 + seed, record=True
        )
        scores = members_scores(trace[:, rows], *(one[rows] for one in gradient_norms(net, inputs, given)))
        kind = np.repeat([1, 2, 0], [count, count, len(rows) - 2 * count])
        for number, rounds in enumerate(table.values(), 1):
            some = (kind == number) | (kind == 0)
            rounds.append({name: roc_auc_score(kind[some] == number, score[some]) for name, score in scores.items()})
    return table


def members_scores(trace: np.ndarray, by_input: np.ndarray, by_weights: np.ndarray) -> dict[str, np.ndarray]:
    spread, final = exposure.lt_iqr(trace), trace[-1]
    return {
        "LT-IQR": spread,
        "the same, never learnt last": -exposure.order(spread, final).astype(float),
        "final loss": final,
        "gradient norm, input": by_input,
        "gradient norm, weights": by_weights,
    }


def table(title: str, names, rows: dict[str, list[list[float]]]) -> None:
    print(f"\n{title}\n{'':<32}" + "".join(f"{name:>12}" for name in names))
    for name, rounds in rows.items():
        values = np.array(rounds)
        print(f"{name:<32}" + "".join(f"{one:>12.3f}" for one in values.mean(axis=0)), flush=True)


def report(kept: dict[str, np.ndarray], shadows: int) -> None:
    member, loss = kept["member"], kept["loss"]
    odds, bends = membership.log_odds(loss), membership.log_curvature(kept["curvature"])
    memorized, _ = memorization(member[:shadows], kept["right"][:shadows])
    ranks: dict[str, list] = {}
    attacks: dict[str, list] = {}
    at_risk = []
    for number, trace in enumerate(kept["trace"]):
        mine = member[shadows + number]
        ratio = membership.likelihood_ratio(odds[:shadows], member[:shadows], odds[shadows + number])
        bend = membership.likelihood_ratio(bends[:shadows], member[:shadows], bends[shadows + number])
        usual = np.sort(ratio[~mine])[::-1]
        risk = ratio[mine] > usual[int(0.001 * len(usual))]
        at_risk.append(risk.mean())
        scores = members_scores(trace[:, mine], kept["by_input"][number][mine], kept["by_weights"][number][mine])
        scores |= {
            "memorization by the shadows": memorized[mine],
            "distance of both Gaussians": membership.distance(odds[:shadows], member[:shadows])[mine],
            "the same, of curvature": -membership.distance(bends[:shadows], member[:shadows])[mine],
            "chance": np.random.default_rng(number).random(mine.sum()),
        }
        for name, score in scores.items():
            first = np.argsort(-score, kind="stable")
            row = [risk[first[: max(round(share * len(first)), 1)]].mean() for share in SHARES]
            ranks.setdefault(name, []).append([*row, spearmanr(score, ratio[mine]).statistic])
        for name, score in {
            "plain loss": -loss[shadows + number],
            "LiRA": ratio,
            "curvature alone, low": -bends[shadows + number],
            "curvature ratio": bend,
            "sum of both ratios": ratio + bend,
        }.items():
            told = [exposure.found_at(score[mine], score[~mine], rate).found for rate in exposure.RATES]
            attacks.setdefault(name, []).append([roc_auc_score(mine, score), *told])
    inside, outside = (kept["right"][:shadows][side].mean() for side in (member[:shadows], ~member[:shadows]))
    print(
        f"{member.shape[1]} images, {shadows} shadows, {len(kept['trace'])} targets; accuracy on members {inside:.3f}, "
        f"on others {outside:.3f}; at risk {', '.join(f'{one:.1%}' for one in at_risk)} of the members"
    )
    print(f"memorization by the shadows: mean {np.nanmean(memorized):.3f}, over .25 {np.nanmean(memorized > 0.25):.1%}")
    table("precision among the first", [*(f"{share:.0%}" for share in SHARES), "Spearman"], ranks)
    table("attacks on all images", ["AUROC", *(f"at {rate:.1%}" for rate in exposure.RATES)], attacks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--shadows", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--shift", type=int, default=0, help="pixels by which training images are moved at random")
    parser.add_argument("--draws", type=int, default=3, help="of a curvature")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="what the models answered: read if it is there, else written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan, began = Plan(epochs=options.epochs, shift=options.shift, draws=options.draws), time.perf_counter()
    inputs, labels = load(options.source, options.images)
    if options.cache and options.cache.exists():
        with np.load(options.cache) as file:
            kept = dict(file)
    else:
        kept = measure(inputs, labels, options.shadows, options.seeds, plan)
        if options.cache:
            np.savez(options.cache, **kept)
    report(kept, options.shadows)
    kinds = canaries(inputs, labels, options.seeds, plan)
    names = list(kinds)
    rows = {
        name: [[kinds[kind][k][name] for kind in names] for k in range(options.seeds)] for name in kinds[names[0]][0]
    }
    table("canaries, AUROC against the others", names, rows)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
