"""How the proxy is trained."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """How the proxy is trained: SGD with Nesterov momentum, one cycle of the rate, random shifts as the augmentation.

    Gentle enough to reach a good validation accuracy before it memorises: then a wrong label keeps a high loss for most
    of the run. No mirroring: it would change the meaning of digits, letters and left or right organs.
    """

    epochs: int = 24
    batch: int = 64
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.3
    shift: float = 1 / 14  # of the side; 2 px at 28
    statistics: int = 1000  # images on which batch norm's statistics are estimated anew before recording
    half: bool = False  # training steps in bfloat16, the weights in float32

    def for_size(self, n: int) -> "Recipe":
        """Smaller batches, at a rate that goes down with them, for a small dataset: at least 16 steps an epoch."""
        batch = min(self.batch, max(8, 2 ** int(math.log2(max(n // 16, 1)))))
        return replace(self, batch=batch, rate=self.rate * batch / self.batch)

    def steps(self, n: int) -> int:
        """Steps of an epoch of n samples. Batches are this size or more: a last one of a few images would make batch
        norm's statistics a lottery, so they differ by one image at most."""
        return max(n // self.batch, 1)

    def rate_at(self, step: int, steps: int) -> float:
        """One cycle: a cosine rise from a tenth over the warm-up, then a cosine fall to a thousandth of the peak."""
        rise = max(self.warmup * steps, 1)
        if step < rise:
            low, high, at = self.rate / 10, self.rate, step / rise
        else:
            low, high, at = self.rate / 1000, self.rate, 1 - (step - rise) / max(steps - rise, 1)
        return low + (high - low) * (1 - math.cos(math.pi * at)) / 2
