"""Memorization (Feldman and Zhang, arXiv 2008.03703), with its standard error: what a model knows of a sample only
because it was trained on it. T trainings on random subsets, N samples.

    mem_i = mean over trainings with i of a_i  -  mean over trainings without i of a_i

a is 1 where the model names the given label, or, with less noise, the probability that it gives to it.
"""

import numpy as np


def memorization(member: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The estimate (N,) in [-1, 1] and its standard error (N,), high: memorized.

    member (T, N) bool: trained on; answers (T, N): right or not, or probabilities of the given label, NaN where not
    known. Estimate NaN where a sample was in all of the subsets or in none; error NaN where either side has one
    training only, of which no spread can be told. Right or wrong answers have the binomial's error.
    """
    member, answers = np.asarray(member), np.asarray(answers)
    if member.shape != answers.shape or member.ndim != 2 or member.dtype != bool:
        raise ValueError(
            f"member {member.dtype} {member.shape} and answers {answers.shape} must be (T, N), member bool"
        )
    binary, values = answers.dtype == bool, answers.astype(np.float64)
    known = np.isfinite(values)
    (inside, first), (outside, second) = (_side(values, member & known, binary), _side(values, ~member & known, binary))
    return inside - outside, np.sqrt(first + second)


def _side(values: np.ndarray, which: np.ndarray, binary: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N,) of the values (T, N) that are meant, and the square of its standard error."""
    count = which.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(which, values, 0.0).sum(axis=0) / count
        if binary:
            return mean, np.where(count > 1, mean * (1 - mean) / count, np.nan)
        squares = np.where(which, (values - mean) ** 2, 0.0).sum(axis=0)
        return mean, squares / ((count - 1) * count)
