"""What recording adds to a training: the same one without a recorder, with it as a by-product, and in eval mode.

    python benchmarks/overhead.py [plain] [lightning] [classification] [language]      all of them by default

Prints, for each integration, processor seconds of a training without, the ratio of the trainings with a recorder to it,
and, which other programs on the machine disturb least, the share of the recorder in those: processor time inside its
methods and the callback's. Each is the median of several repeats, taken by turns in one process, after one to warm up.
All of the recorder is in it: the run's start, each batch, Parquet on the disk, the end. `--small` shrinks all.

  plain           `small` at 32 px, 2,048 images of 10 classes in batches of 64, 256 for validation, a loop of one's own
  lightning       the same in Lightning's Trainer
  classification  a BERT of 4 layers, width 128, 64 tokens, 768 texts in batches of 16, 96 for validation, in Hugging
                  Face's Trainer, which evaluates after each epoch
  language        a GPT-2 of the same size with 4,000 words, each text's loss the mean over its tokens

The networks are small, so that the ratios are upper bounds: what recording costs a batch does not grow with a network.
"""

import argparse
import functools
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lossprint.audit import Recorder
from lossprint.audit.recording.plain_pass import WithIds
from lossprint.audit.training.models import build_model

KINDS = ("without", "by-product", "eval")
EPOCHS = 3


def table(train: int, val: int, classes: int) -> pd.DataFrame:
    n = train + val
    labels = [f"class {i % classes}" for i in range(n)]
    split = ["train"] * train + ["val"] * val
    return pd.DataFrame({"sample": range(n), "path": [f"{i:06d}" for i in range(n)], "label": labels, "split": split})


def images(train: int, val: int) -> tuple[TensorDataset, TensorDataset]:
    generator = torch.Generator().manual_seed(0)
    pixels, labels = torch.randn(train + val, 3, 32, 32, generator=generator), torch.arange(train + val) % 10
    return TensorDataset(pixels[:train], labels[:train]), TensorDataset(pixels[train:], labels[train:])


def plain(small: bool) -> Callable[[str, Path], None]:
    counts = (128, 32) if small else (2048, 256)
    data, rows = images(*counts), table(*counts, 10)
    ids = np.arange(counts[0]), np.arange(counts[0], sum(counts))
    train, val = (WithIds(*pair) for pair in zip(data, ids))

    def run(kind: str, out: Path) -> None:
        torch.manual_seed(0)
        network = build_model("small", 10, 32)
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
        recorder = None if kind == "without" else Recorder(out, rows, recording=kind)
        for epoch in range(1, EPOCHS + 1):
            network.train()
            for at, (x, y) in DataLoader(train, 64, shuffle=True):
                logits = network(x)
                losses = F.cross_entropy(logits, y, reduction="none")
                optimizer.zero_grad()
                losses.mean().backward()
                optimizer.step()
                if kind == "by-product":
                    recorder.update(at, losses, logits, y)
            network.eval()
            with torch.inference_mode():  # a training without a recorder validates as well
                for part in (train, val) if kind == "eval" else (val,):
                    for at, (x, y) in DataLoader(part, 128):
                        logits = network(x)
                        losses = F.cross_entropy(logits, y, reduction="none")
                        if recorder is not None:
                            recorder.update(at, losses, logits, y)
            if recorder is not None:
                recorder.end_checkpoint(epoch)
        if recorder is not None:
            recorder.finish()

    return run


def in_lightning(small: bool) -> Callable[[str, Path], None]:
    import lightning

    from lossprint.audit.recording.lightning import LossprintCallback

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    counts = (128, 32) if small else (2048, 256)
    data, rows = images(*counts), table(*counts, 10)

    class Module(lightning.LightningModule):
        def __init__(self, by_product: bool):
            super().__init__()
            self.network, self.by_product = build_model("small", 10, 32), by_product

        def forward(self, x):
            return self.network(x)

        def training_step(self, batch, _):
            ids, (x, y) = batch if self.by_product else (None, batch)
            logits = self(x)
            losses = F.cross_entropy(logits, y, reduction="none")
            return {"loss": losses.mean(), **({"lossprint": (ids, losses, logits, y)} if self.by_product else {})}

        validation_step = training_step

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01, momentum=0.9)

    def run(kind: str, out: Path) -> None:
        torch.manual_seed(0)
        callbacks = [] if kind == "without" else [LossprintCallback(out, rows, recording=kind)]
        train, val = data
        if kind == "by-product":
            train, val = WithIds(train, callbacks[0].ids("train")), WithIds(val, callbacks[0].ids("val"))
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            callbacks=callbacks,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(kind == "by-product"), DataLoader(train, 64, shuffle=True), DataLoader(val, 128))

    return run


def in_transformers(small: bool, language: bool) -> Callable[[str, Path], None]:
    import datasets
    import transformers

    from lossprint.audit.recording.transformers import LossprintCallback

    transformers.logging.set_verbosity_error()
    (train, val), tokens = ((64, 16), 16) if small else ((768, 96), 64)
    vocabulary = 100 if small else 4000
    random = np.random.default_rng(0)
    texts = random.integers(1, vocabulary, (train + val, tokens))
    labels = texts if language else np.arange(train + val) % 4
    made = datasets.Dataset.from_dict({"input_ids": texts.tolist(), "labels": labels.tolist()}).with_format("torch")
    parts = made.select(range(train)), made.select(range(train, train + val))
    width = 32 if small else 128

    def model():
        torch.manual_seed(0)
        if language:
            size = {"n_positions": tokens, "n_embd": width, "n_layer": 4, "n_head": 4}
            return transformers.GPT2LMHeadModel(
                transformers.GPT2Config(vocab_size=vocabulary, bos_token_id=None, eos_token_id=None, **size)
            )
        size = {"hidden_size": width, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 4 * width}
        return transformers.BertForSequenceClassification(
            transformers.BertConfig(vocab_size=vocabulary, num_labels=4, **size)
        )

    def run(kind: str, out: Path) -> None:
        arguments = transformers.TrainingArguments(
            output_dir=str(out.with_name("trainer")),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=32,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = transformers.Trainer(model(), arguments, train_dataset=parts[0], eval_dataset=parts[1])
        trainer.remove_callback(transformers.PrinterCallback)
        if kind != "without":
            trainer.add_callback(LossprintCallback(out, trainer=trainer, recording=kind))
        trainer.train()

    return run


PARTS = {
    "plain": plain,
    "lightning": in_lightning,
    "classification": lambda small: in_transformers(small, language=False),
    "language": lambda small: in_transformers(small, language=True),
}


METHODS = (
    *("update", "end_checkpoint", "rewind", "finish", "__init__"),
    *("on_train_start", "on_train_batch_end", "on_validation_batch_end", "on_train_epoch_end", "on_train_end"),
    *("on_train_begin", "on_step_end", "on_epoch_end", "on_evaluate", "_by_product"),
)


class Inside:
    """Processor seconds spent in the recorder's methods and the callbacks', calls within calls counted once."""

    def __init__(self):
        self.seconds, self.depth = 0.0, 0
        modules = [sys.modules.get(f"lossprint.audit.recording.{name}") for name in ("lightning", "transformers")]
        owners = [Recorder, *(module.LossprintCallback for module in modules if module is not None)]
        self.originals = [
            (owner, name, vars(owner)[name]) for owner in owners for name in METHODS if name in vars(owner)
        ]

    def __enter__(self) -> "Inside":
        for owner, name, method in self.originals:
            setattr(owner, name, self._timed(method))
        return self

    def __exit__(self, *_) -> None:
        for owner, name, method in self.originals:
            setattr(owner, name, method)

    def _timed(self, method: Callable) -> Callable:
        @functools.wraps(method)
        def call(*arguments, **named):
            self.depth += 1
            began = time.process_time()
            try:
                return method(*arguments, **named)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.process_time() - began

        return call


def measured(run: Callable[[str, Path], None], times: int) -> dict[str, tuple[float, float]]:
    """Median processor seconds of a training of each kind, and of them in the recorder, by turns."""
    seconds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    with Inside() as inside:
        for turn in range(times + 1):
            for kind in KINDS if turn % 2 else KINDS[::-1]:
                with tempfile.TemporaryDirectory() as folder:
                    inside.seconds, began = 0.0, time.process_time()
                    run(kind, Path(folder) / "run")
                    taken = time.process_time() - began, inside.seconds
                if turn:
                    seconds[kind].append(taken)
    return {kind: tuple(map(statistics.median, zip(*of))) for kind, of in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"expected parts among {', '.join(PARTS)}, found {', '.join(unknown)}")
    warnings.simplefilter("ignore")
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, {options.times} repeats"
    )
    for name in options.parts or PARTS:
        found = measured(PARTS[name](options.small), options.times)
        without = found["without"][0]
        told = [f"{kind} {found[kind][0] / without:.3f}, recorder {found[kind][1] / without:.2%}" for kind in KINDS[1:]]
        print(f"{name} | without {without:.2f} s | " + " | ".join(told), flush=True)


if __name__ == "__main__":
    main()
