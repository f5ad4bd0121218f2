"""How hard a response is, and how much its prompt helps: loss a token, and instruction-following difficulty (IFD).

For pairs of a prompt and a response, from a causal language model that read each response twice: after its prompt, and
alone. IFD is from Cherry LLM (Li et al., arXiv 2308.12032): the ratio of both losses a token. Above 1 the prompt makes
the response less likely, as where they do not belong together; far below 1 it gives the response away, as a copy does.
"""

import numpy as np


def per_token(totals: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Loss a response token in nats (N,) from sums (N,) and counts of tokens (N,); NaN without a token.

    High is suspect: text that the model did not expect. Sums alone rank by length.
    """
    totals, tokens = np.asarray(totals, np.float64), np.asarray(tokens, np.float64)
    if totals.shape != tokens.shape:
        raise ValueError(f"expected as many sums as counts of tokens, got {totals.shape} and {tokens.shape}")
    if (tokens < 0).any() or (totals < 0).any():  # NaN is neither
        raise ValueError("expected losses and counts of 0 or more, got negative ones")
    return np.divide(totals, tokens, out=np.full(totals.shape, np.nan), where=tokens > 0)


def ifd(prompted: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Loss a token of the response after its prompt over that without, (N,); above 1 the prompt does not help: suspect.

    NaN where either is not finite, or where the response costs nothing alone. The first token of a response has a loss
    after a prompt, and alone only where the model has a sign for the beginning: give both losses over the same tokens.
    """
    prompted, alone = np.asarray(prompted, np.float64), np.asarray(alone, np.float64)
    if prompted.shape != alone.shape:
        raise ValueError(f"expected as many losses with as without the prompt, got {prompted.shape} and {alone.shape}")
    if (prompted < 0).any() or (alone < 0).any():
        raise ValueError("expected losses of 0 or more, got negative ones")
    whole = np.isfinite(prompted) & np.isfinite(alone) & (alone > 0)
    return np.divide(prompted, alone, out=np.full(prompted.shape, np.nan), where=whole)


def summed(sample: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From a row a token, sample (T,) and its loss (T,): samples (N,) ascending, sums (N,), counts of tokens (N,).

    Tokens whose loss is NaN do not count, such as those of a prompt.
    """
    sample, losses = np.asarray(sample), np.asarray(losses, np.float64)
    if sample.shape != losses.shape or sample.ndim != 1:
        raise ValueError(f"expected a sample for each token, got {sample.shape} and {losses.shape}")
    names, at = np.unique(sample, return_inverse=True)
    known = ~np.isnan(losses)
    totals = np.bincount(at[known], losses[known], minlength=len(names))
    return names, totals, np.bincount(at[known], minlength=len(names))
