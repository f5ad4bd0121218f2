"""Prompt/response pairs: which responses do not belong to their prompts? A tiny model, trained here, and two scores.

    python examples/prompt_responses.py --out runs/docstrings [--pairs 3000] [--epochs 6] [--seed 0]

The pairs are real text that every machine with this program has: the name of a function in words and the first
sentence of its docstring, from numpy, pandas, scipy and torch. One response in twenty is exchanged for another's. The
model gives each word of a response from the two before it and from the prompt's words, with one embedding for all; a
third of the time it is trained without the prompt, so that it knows a response alone. The recorder takes the loss of
each response at every epoch, and in the end what IFD needs: the losses with and without the prompt. Yours may be any
causal language model, whose sums these give:

    from lossprint.audit.recording.per_sample import response_sums
"""

import argparse
import importlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.workflow.score import score

PACKAGES = ("numpy", "scipy.stats", "scipy.signal", "scipy.linalg", "scipy.ndimage", "scipy.special", "pandas", "torch")
PACKAGES += ("pandas.DataFrame", "pandas.Series", "torch.Tensor", "torch.nn", "torch.nn.functional", "torch.linalg")
PACKAGES += ("numpy.linalg", "numpy.ma", "numpy.random", "scipy.optimize", "scipy.sparse", "scipy.spatial", "torch.fft")
WORDS, SIDE, LONGEST, BATCH = 1500, 48, 16, 64


def pairs() -> list[tuple[str, str, str]]:
    """(package, words of the name, first sentence of the docstring), each sentence once, in the order of names."""
    seen: dict[str, tuple[str, str, str]] = {}
    for name in PACKAGES:
        owner, _, inner = name.rpartition(".")
        thing = (
            importlib.import_module(name) if not inner[:1].isupper() else getattr(importlib.import_module(owner), inner)
        )
        for key in sorted(dir(thing)):
            text = None if key.startswith("_") else inspect.getdoc(getattr(thing, key, None))
            lines = [line for line in (text or "").strip().splitlines() if not re.match(r"^\S*\(.*\)|^[-=]+$|^$", line)]
            sentence = re.split(r"(?<=[.:])\s", " ".join(lines[:3]))[0][:200]
            if len(sentence.split()) >= 4:
                seen.setdefault(sentence, (name.partition(".")[0], " ".join(_words(key)), sentence))
    return list(seen.values())


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d|[^\w\s]", re.sub(r"([a-z])([A-Z])|_", r"\1 \2", text).lower())


class Model(nn.Module):
    """Logits of each word of a response, from the two before it and the mean of the prompt's."""

    def __init__(self, words: int, side: int = SIDE):
        super().__init__()
        self.words = nn.Embedding(words, side, padding_idx=0)
        self.before = nn.Sequential(nn.Linear(2 * side, side), nn.Tanh(), nn.Linear(side, side))
        self.prompt, self.bias = nn.Linear(side, side), nn.Parameter(torch.zeros(words))

    def forward(self, prompts: torch.Tensor, responses: torch.Tensor, with_prompt: bool = True) -> torch.Tensor:
        """prompts (B, P), responses (B, T) padded with 0 -> (B, T, words)."""
        first = nn.functional.pad(responses, (2, 0))
        before = self.before(torch.cat([self.words(first[:, 1:-1]), self.words(first[:, :-2])], 2))
        if with_prompt:
            there = (prompts > 0).sum(1, keepdim=True).clamp(min=1)
            before = before + self.prompt(self.words(prompts).sum(1) / there)[:, None]
        return before @ self.words.weight.T + self.bias


def read(texts: list[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Word numbers of prompts (N, P) and responses (N, T); the commonest have numbers from 2, others 1."""
    cut = [[_words(text)[:LONGEST] for text in row] for row in texts]
    every = [word for row in cut for part in row for word in part]
    names, counts = np.unique(every, return_counts=True)
    known = {name: at + 2 for at, name in enumerate(names[np.argsort(-counts, kind="stable")][: WORDS - 2])}
    tables = []
    for side in (0, 1):
        table = torch.zeros(len(cut), max(len(row[side]) for row in cut), dtype=torch.int64)
        for at, row in enumerate(cut):
            table[at, : len(row[side])] = torch.tensor([known.get(word, 1) for word in row[side]])
        tables.append(table)
    return tables[0], tables[1]


def sums(model: Model, prompts: torch.Tensor, responses: torch.Tensor, with_prompt: bool = True) -> torch.Tensor:
    """Losses (B,) summed over the words of each response."""
    logits = model(prompts, responses, with_prompt).transpose(1, 2)
    return nn.functional.cross_entropy(logits, responses, ignore_index=0, reduction="none").sum(1)


def all_sums(model: Model, prompts: torch.Tensor, responses: torch.Tensor, with_prompt: bool = True) -> torch.Tensor:
    """The same of many, some at a time."""
    parts = zip(prompts.split(256), responses.split(256))
    return torch.cat([sums(model, *part, with_prompt) for part in parts])


def trained(prompts: torch.Tensor, responses: torch.Tensor, rows: torch.Tensor, epochs: int, seed: int, after) -> Model:
    """A model trained on the rows; `after(epoch, model)` is called in eval mode."""
    torch.manual_seed(seed)
    model = Model(WORDS)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(1, epochs + 1):
        model.train()
        for part in rows[torch.randperm(len(rows))].split(BATCH):
            loss = sums(model, prompts[part], responses[part], bool(torch.rand(()) > 1 / 3)).sum()
            optimizer.zero_grad()
            (loss / (responses[part] > 0).sum()).backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            after(epoch, model)
    return model


def planted(count: int, seed: int) -> tuple[list[tuple[str, str, str]], set[int]]:
    """At most so many pairs in a random order, one response in twenty exchanged with another's; which ones."""
    random, every = np.random.default_rng(seed), pairs()
    rows = [every[at] for at in random.permutation(len(every))[:count]]
    wrong = random.permutation(len(rows) * 9 // 10)[: len(rows) // 20]  # of the training pairs
    turned = np.roll(wrong, 1)
    answers = [rows[at][2] for at in turned]
    for at, answer in zip(wrong.tolist(), answers):
        rows[at] = (*rows[at][:2], answer)
    return rows, set(wrong.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows, wrong = planted(options.pairs, options.seed)
    file = Path(f"{options.out}-data") / "pairs.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    train = len(rows) * 9 // 10
    lines = [
        {"id": f"{at:05d}", "prompt": row[1], "response": row[2], "split": "train" if at < train else "val"}
        for at, row in enumerate(rows)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    prompts, responses = read([row[1:] for row in rows])
    tokens = (responses > 0).sum(1)
    recorder = Recorder(options.out, file, task="text")

    def after(epoch: int, model: Model) -> None:
        recorder.update(range(len(rows)), all_sums(model, prompts, responses) / tokens)
        recorder.end_checkpoint(epoch)

    model = trained(prompts, responses, torch.arange(train), options.epochs, options.seed, after)
    with torch.inference_mode():
        both = (all_sums(model, prompts, responses, with_prompt) for with_prompt in (True, False))
        given, alone = both
    recorder.responses(range(len(rows)), given, tokens, alone)
    scores = score(recorder.finish().path).scores().sort_values("ifd", ascending=False)
    there = scores["sample"].isin(wrong)
    found, chance = int(there.head(len(wrong)).sum()), there.mean() * len(wrong)
    print(f"{found} of the {len(wrong)} exchanged responses are among the {len(wrong)} with the highest IFD, ", end="")
    print(f"{chance:.1f} would be by chance. The first:")
    for one in scores.head(5).itertuples():
        print(f"  IFD {one.ifd:.2f}  {rows[one.sample][1]}: {rows[one.sample][2]}")


if __name__ == "__main__":
    main()
