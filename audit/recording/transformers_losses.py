"""What one loss a sample is of, in the outputs of a model of Transformers: found out by what equals its own loss."""

from dataclasses import dataclass

import torch

from lossprint.audit.recording import per_sample
from lossprint.audit.types import LossprintError

NEAR = 0.02  # of the model's own loss: bfloat16 has three digits


@dataclass(frozen=True)
class Form:
    """task, see `tasks`; shift, of text: whether logits are for the next token; width: logits of a sample or token."""

    task: str
    shift: bool = False
    width: int = 1

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple:
        """(losses, logits, labels) for `Recorder.update`, unreduced."""
        if self.task == "text":
            return per_sample.token_losses(logits, labels, shift=self.shift), None, None
        return per_sample.of_task(self.task, logits, labels)


def detect(outputs, labels: torch.Tensor | None, asked: str | None) -> Form | None:
    """The form of the losses, from a batch of one sample; None where its own loss is undefined (no token counts).

    `asked` is the task where it is known. Raises LossprintError where no form gives the model's own loss.
    """
    loss, logits = (outputs.get(name) if hasattr(outputs, "get") else None for name in ("loss", "logits"))
    say = "say what the losses are, LossprintCallback(losses=..., task=...)"
    if not (torch.is_tensor(loss) and torch.is_tensor(logits) and torch.is_tensor(labels)):
        found = ", ".join(outputs) if hasattr(outputs, "keys") else type(outputs).__name__
        raise LossprintError(f"expected labels and a model that returns loss and logits, found {found}: {say}")
    if not torch.isfinite(loss):
        return None
    forms = [form for form in _possible(logits, labels) if asked in (None, form.task)]
    apart = [abs(_mean(form, logits, labels) - float(loss)) for form in forms]
    if not forms or min(apart) > NEAR * max(abs(float(loss)), 1e-3):
        raise LossprintError(
            f"expected losses{'' if asked is None else ' as for task=' + repr(asked)} that equal the model's own, "
            f"{float(loss):.4g}, found none, from logits {tuple(logits.shape)} and labels {tuple(labels.shape)}: {say}"
        )
    return forms[apart.index(min(apart))]


def _possible(logits: torch.Tensor, labels: torch.Tensor) -> list[Form]:
    """The forms that the shapes allow."""
    width = logits.shape[-1] if logits.ndim > 1 else 1
    whole = not labels.is_floating_point()
    if logits.ndim == 3 and labels.shape == logits.shape[:2] and whole:
        return [Form("text", True, width), Form("text", False, width)]
    if logits.ndim == 2 and labels.shape == logits.shape[:1] and whole and width > 1:
        return [Form("classes", width=width)]
    forms = []
    if logits.ndim == 2 and labels.shape == logits.shape and width > 1 and bool(((labels == 0) | (labels == 1)).all()):
        forms.append(Form("multi-label", width=width))
    if labels.numel() == logits.numel():
        forms.append(Form("regression", width=width))
    return forms


def _mean(form: Form, logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The loss of one sample as the models' own losses have it: of several labels the mean, not the sum."""
    return float(form(logits, labels)[0].mean())
