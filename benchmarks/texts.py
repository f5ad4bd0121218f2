"""Texts: exchanged responses by IFD and loss, wrong labels by frozen features, more like a few; beside baselines.

    python benchmarks/texts.py [--pairs 3000] [--seeds 0 1 2]

Real text: docstrings of numpy, pandas, scipy and torch, as `examples/prompt_responses.py` reads them.

- One response in twenty is exchanged with another's. AUROC and average precision (chance .05) of the scores by the
  example's tiny model, which is trained on all of them; and of DELIFT's utility (arXiv 2411.04425): how much each text
  gains from five confirmed exchanges as examples in its prompt, low or high first, whichever is better.
- Sentences labelled by their package, one label in ten wrong, as vectors of words (TF-IDF, 100 singular vectors): the
  ranking of `lossprint audit --features`, beside the neighbours' vote alone and chance.
- More like five texts of a package: share of it among the next 20, and in the whole.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.linalg import svds
from sklearn.metrics import average_precision_score, roc_auc_score

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import prompt_responses as example

from lossprint.audit.findings import more
from lossprint.audit.workflow.audit import audit
from lossprint.scoring.heads import blocks, vote
from lossprint.scoring.texts.response import ifd


def responses(count: int, seed: int, epochs: int = 6) -> dict[str, tuple[float, float]]:
    """By score AUROC and average precision of the exchanged responses among the training pairs."""
    rows, wrong = example.planted(count, seed)
    prompts, answers = example.read([row[1:] for row in rows])
    train, tokens, history = len(rows) * 9 // 10, (answers > 0).sum(1), []
    after = lambda epoch, model: history.append((example.all_sums(model, prompts, answers) / tokens)[:train])  # noqa: E731
    model = example.trained(prompts, answers, torch.arange(train), epochs, seed, after)
    truth = np.isin(np.arange(train), list(wrong))
    with torch.inference_mode():
        given = history[-1].numpy()
        alone = (example.all_sums(model, prompts, answers, False) / tokens)[:train].numpy()
        scores = {
            "IFD": ifd(given, alone),
            "loss a token, after the prompt": given,
            "loss a token, alone": alone,
            "CSL (mean over the epochs)": np.mean([one.numpy() for one in history], axis=0),
            "length": -tokens[:train].numpy().astype(float),
        }
        query = np.random.default_rng(seed).permutation(list(wrong))[:5]
        gains = utility(model, prompts[:train], answers[:train], query)
        left = np.setdiff1d(np.arange(train), query)
        scores["DELIFT's utility, better end"] = gains
    found = {}
    for name, score in scores.items():
        some = left if name.startswith("DELIFT") else np.arange(train)
        ways = [score[some], -score[some]] if name.startswith("DELIFT") else [score[some]]
        found[name] = max((roc_auc_score(truth[some], one), average_precision_score(truth[some], one)) for one in ways)
    return found


def utility(model, prompts: torch.Tensor, answers: torch.Tensor, query: np.ndarray) -> np.ndarray:
    """Mean over the query of d_i - d_i given j, d_i the distance of the words' probabilities from 1, (N,)."""

    def distance(asked: torch.Tensor) -> torch.Tensor:
        parts = []
        for a, b in zip(asked.split(256), answers.split(256)):
            p = model(a, b).softmax(2).gather(2, b[..., None])[..., 0]
            there = b > 0
            parts.append((((1 - p) ** 2) * there).sum(1).div(there.sum(1)).sqrt())
        return torch.cat(parts)

    before, gains = distance(prompts), []
    for one in query.tolist():
        shown = torch.cat([prompts[one], answers[one]])
        gains.append(before - distance(torch.cat([prompts, shown.expand(len(prompts), -1)], 1)))
    return torch.stack(gains).mean(0).numpy()


def vectors(texts: list[str], side: int = 100) -> np.ndarray:
    """Sentences as their words: TF-IDF, rows of length 1, the first singular vectors."""
    words = [example._words(text) for text in texts]
    names, at = np.unique([one for row in words for one in row], return_inverse=True)
    rows = np.repeat(np.arange(len(words)), [len(row) for row in words])
    table = coo_array((np.ones(len(at)), (rows, at)), shape=(len(words), len(names))).tocsr()
    table.data = 1 + np.log(table.data)
    table = table.multiply(np.log(len(words) / np.maximum((table > 0).sum(axis=0), 1))).tocsr()
    table = table.multiply(1 / np.sqrt(table.multiply(table).sum(axis=1))[:, None]).tocsr()
    left, values, _ = svds(table, side, random_state=0)
    return (left * values).astype(np.float32)


def labels(count: int, seed: int) -> dict[str, tuple[float, float]]:
    """AUROC and average precision of wrong labels; under `more like` the share of the next 20 and of the whole."""
    random, every = np.random.default_rng(seed), example.pairs()
    rows = [every[at] for at in random.permutation(len(every))[:count]]
    names = sorted({row[0] for row in rows})
    true = np.array([names.index(row[0]) for row in rows])
    given = true.copy()
    wrong = random.permutation(len(rows))[: len(rows) // 10]
    given[wrong] = (true[wrong] + random.integers(1, len(names), len(wrong))) % len(names)
    features = vectors([row[2] for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.jsonl"
        lines = [{"id": f"{at:05d}", "text": row[2], "label": names[given[at]]} for at, row in enumerate(rows)]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        np.savez(Path(folder) / "f.npz", features=features, paths=np.array([line["id"] for line in lines]))
        run = audit(str(file), Path(folder) / "run", features=Path(folder) / "f.npz", quiet=True, seed=seed)
        scores = run.scores().set_index("sample")["label_error"]
        ids = scores.index.to_numpy()
        error = true[ids] != given[ids]
        shares = vote.vote(blocks.prepare(features[ids]), given[ids], len(names), seed=seed)
        alone = 1 - shares[np.arange(len(ids)), given[ids]]
        asked = random.permutation(ids[true[ids] == 0])[:5]
        nearest = more.like(run, asked.tolist(), number=20)["sample"].to_numpy()
    return {
        "head and neighbours, as the program": (roc_auc_score(error, scores), average_precision_score(error, scores)),
        "the neighbours' vote alone": (roc_auc_score(error, alone), average_precision_score(error, alone)),
        "chance": (0.5, error.mean()),
        "more like five: next 20, whole": ((true[nearest] == 0).mean(), (true == 0).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for title, call in (("exchanged responses", responses), ("labels", labels)):
        found = [call(options.pairs, seed) for seed in options.seeds]
        print(f"\n{title}, {options.pairs} texts; mean of seeds {options.seeds}: AUROC, average precision (range)")
        for name in found[0]:
            values = np.array([one[name] for one in found])
            low, high = values[:, 1].min(), values[:, 1].max()
            print(
                f"{name:<38}{values[:, 0].mean():.3f}  {values[:, 1].mean():.3f} ({low:.3f} to {high:.3f})", flush=True
            )


if __name__ == "__main__":
    main()
