"""The recorder in a plain PyTorch loop: images of the embedded demo, a small convolutional network.

    from lossprint.audit import Recorder
    recorder = Recorder("runs/mine", "data/labels.csv")     # before the loop
    recorder.update(ids, losses, logits, labels)            # a batch, then recorder.end_checkpoint(epoch)

    python examples/plain_pytorch.py --out runs/plain [--epochs 6] [--by-product]

In eval mode, the default, the samples go through the network once more after each epoch, in order. With `--by-product`
the losses are those of the training batches themselves, which costs nothing but is another quantity.
"""

import argparse

import torch
from suspects import DEMO, demo, demo_truth, print_suspects
from torch import nn
from torch.nn import functional as F

from lossprint.audit import Recorder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--by-product", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)

    train, val, classes = demo()
    network = small_network(classes)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    recorder = Recorder(options.out, DEMO, recording="by-product" if options.by_product else "eval")
    again = {"val": val} if options.by_product else {"train": train, "val": val}
    ids = {split: torch.from_numpy(recorder.ids(split)) for split in ("train", "val")}

    for epoch in range(1, options.epochs + 1):
        network.train()
        for at in torch.randperm(len(train)).split(32):
            x, y = train[at]
            logits = network(x)
            losses = F.cross_entropy(logits, y, reduction="none")
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            if options.by_product:
                recorder.update(ids["train"][at], losses, logits, y)
        network.eval()
        with torch.inference_mode():
            for split, part in again.items():
                for at in torch.arange(len(part)).split(256):
                    x, y = part[at]
                    logits = network(x)
                    recorder.update(ids[split][at], F.cross_entropy(logits, y, reduction="none"), logits, y)
        recorder.end_checkpoint(epoch)
    recorder.finish()
    print_suspects(options.out, demo_truth())


def small_network(classes: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, classes)),
    )


if __name__ == "__main__":
    main()
