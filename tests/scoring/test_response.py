"""Losses of responses with and without their prompts, against a loop and where the answer is known."""

import numpy as np
import pytest

from lossprint.scoring.texts import response


def test_sums_of_tokens_are_those_of_a_loop():
    random = np.random.default_rng(0)
    sample, losses = random.integers(3, 9, 200), random.exponential(size=200)
    losses[random.random(200) < 0.3] = np.nan  # prompts
    names, totals, counts = response.summed(sample, losses)
    for name, total, count in zip(names, totals, counts):
        mine = [loss for one, loss in zip(sample, losses) if one == name and loss == loss]
        assert count == len(mine) and total == pytest.approx(sum(mine))
    means = response.per_token(totals, counts)
    np.testing.assert_allclose(means * counts, totals)


def test_ifd_is_above_one_where_a_prompt_does_not_help():
    """A model of two topics that reads a topic from the prompt: of a response of the other one it is surer alone."""
    of = {("a", "a"): 0.9, ("a", "b"): 0.1, ("", "a"): 0.5, ("", "b"): 0.5}
    pairs = [("a", "aaaa"), ("a", "bbbb"), ("a", "ab")]
    prompted = np.array([-sum(np.log(of[prompt, one]) for one in said) / len(said) for prompt, said in pairs])
    alone = np.array([-sum(np.log(of["", one]) for one in said) / len(said) for _, said in pairs])
    found = response.ifd(prompted, alone)
    assert found[0] < 0.2 and found[1] > 3 and found[2] > 1
    np.testing.assert_allclose(found, prompted / alone)


def test_what_cannot_be_told_is_missing_and_what_is_wrong_refused():
    assert np.isnan(response.per_token([0.0], [0])).all()
    assert np.isnan(response.ifd([1.0, np.nan, 1.0], [0.0, 1.0, np.inf])).all()
    for call in (
        lambda: response.per_token([1.0], [1, 2]),
        lambda: response.per_token([-1.0], [1]),
        lambda: response.ifd([1.0], [-1.0]),
        lambda: response.ifd([1.0, 2.0], [1.0]),
        lambda: response.summed([1, 2], [0.5]),
    ):
        with pytest.raises(ValueError):
            call()
