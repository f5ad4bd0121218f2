"""The name of before 0.2 of `lossprint.audit.recording.per_sample`: scripts that import it go on."""

from lossprint.audit.recording.per_sample import label_losses, squared_errors, token_losses

__all__ = ["label_losses", "squared_errors", "token_losses"]
