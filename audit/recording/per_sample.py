"""One loss a sample, for `Recorder.update`, from what training loops have in hand. Needs torch.

All are in nats and unreduced over the batch; a sample's high loss is suspect.
"""

import torch
from torch.nn import functional as F


def token_losses(
    logits: torch.Tensor, labels: torch.Tensor, *, shift: bool = True, ignore_index: int = -100
) -> torch.Tensor:
    """The mean cross-entropy over each text's counted tokens: logits (B, T, V), labels (B, T) -> (B,) float32.

    `shift` is for causal language models, whose logits at t are for the token at t + 1, as in Hugging Face's; off for
    taggers and masked ones. Tokens with `ignore_index` (prompts, padding) do not count; a text without any that does
    is NaN, and `Recorder.update` names it. exp(-loss) is the geometric mean of the tokens' probabilities.

    A row at a time in float32: log-probabilities of a whole batch would double its largest tensor.
    """
    if logits.ndim != 3 or labels.shape != logits.shape[:2]:
        raise ValueError(f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} must be (B, T, V) and (B, T)")
    if shift:
        logits, labels = logits[:, :-1], labels[:, 1:]
    losses = [F.cross_entropy(row.float(), of, ignore_index=ignore_index) for row, of in zip(logits, labels)]
    return torch.stack(losses) if losses else logits.new_zeros(0, dtype=torch.float32)


def response_sums(
    logits: torch.Tensor, labels: torch.Tensor, *, shift: bool = True, ignore_index: int = -100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums (B,) float32 of the losses of each text's counted tokens, and how many (B,); arguments as `token_losses`.

    For `Recorder.responses`: once with the prompts before the responses, once with the responses alone.
    """
    means = token_losses(logits, labels, shift=shift, ignore_index=ignore_index)
    counts = ((labels[:, 1:] if shift else labels) != ignore_index).sum(1).to(means.device)
    return means.nan_to_num() * counts, counts


def label_losses(logits: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each label: logits (B, L), given labels (B, L), 0 or 1 -> (B, L) float32.

    `Recorder.update` sums it over the labels, and keeps each where it knows the labels' names.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), given.to(logits.device).float(), reduction="none")


def squared_errors(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Squared error of each sample, the mean over its outputs: (B,) or (B, D) -> (B,) float32.

    Targets (B,) go with predictions (B, 1) and the other way round; broadcasting would pair each with all.
    """
    if len(predictions) != len(targets) or predictions.numel() != targets.numel():
        raise ValueError(f"predictions {tuple(predictions.shape)} and targets {tuple(targets.shape)} do not match")
    errors = (predictions.float() - targets.to(predictions.device).float().reshape(predictions.shape)) ** 2
    return errors.flatten(1).mean(1) if errors.ndim > 1 else errors


def of_task(task: str, outputs: torch.Tensor, targets: torch.Tensor) -> tuple:
    """(losses, logits, labels) for `Recorder.update`, the last two None where the task has none, from a network's
    outputs: (B, C) for `classes`, (B, L) for `multi-label`, (B, T, V) of a causal language model for `text`, (B,) or
    (B, D) for `regression`.
    """
    if task == "classes":
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1] or targets.is_floating_point():
            raise ValueError(
                f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} must be (B, C) and (B,)"
            )
        return F.cross_entropy(outputs.float(), targets, reduction="none"), outputs, targets
    if task == "multi-label":
        return label_losses(outputs, targets), outputs, targets
    if task == "text":
        return token_losses(outputs, targets), None, None
    return squared_errors(outputs, targets), None, None
