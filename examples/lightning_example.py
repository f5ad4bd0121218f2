"""The recorder in Lightning: one callback. Images of the embedded demo, a small convolutional network.

    from lossprint.audit.recording.lightning import LossprintCallback
    callback = LossprintCallback("runs/mine", "data/labels.csv")
    trainer = Trainer(callbacks=[callback])

    python examples/lightning_example.py --out runs/lightning [--epochs 6] [--by-product]

In eval mode, the default, nothing else of your code changes. With `--by-product` the losses are those of the training
batches themselves: batches carry ids, and the steps return what they have computed anyway.
"""

import argparse

import lightning as L
import torch
from lightning.pytorch import Trainer
from suspects import DEMO, demo, demo_truth, print_suspects
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lossprint.audit.recording.lightning import LossprintCallback, WithIds


class Images(L.LightningModule):
    def __init__(self, classes: int):
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(32 * 7 * 7, classes)),
        )

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, _):
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch, _):
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 2e-3)


class ByProduct(Images):
    """The same where batches carry ids, and both steps return the losses beside what they return anyway."""

    def training_step(self, batch, _):
        ids, (images, labels) = batch
        logits = self(images)
        losses = F.cross_entropy(logits, labels, reduction="none")
        return {"loss": losses.mean(), "lossprint": (ids, losses, logits, labels)}

    def validation_step(self, batch, _):
        return self.training_step(batch, _)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--by-product", action="store_true")
    options = parser.parse_args()
    L.seed_everything(0)

    train, val, classes = demo()
    if options.by_product:
        callback = LossprintCallback(options.out, DEMO, recording="by-product")
        train, val = WithIds(train, callback.ids("train")), WithIds(val, callback.ids("val"))
        module = ByProduct(classes)
    else:
        callback = LossprintCallback(options.out, DEMO)
        module = Images(classes)
    trainer = Trainer(
        max_epochs=options.epochs,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=128))
    print_suspects(options.out, demo_truth())


if __name__ == "__main__":
    main()
