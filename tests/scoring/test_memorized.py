"""Exposure, attacks, membership by shadows and memorization: against plain loops and made data with known answers."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from lossprint.scoring.memorized import exposure, membership
from lossprint.scoring.memorized.memorization import memorization


def kinds_of_traces(checkpoints=30, each=40, seed=0):
    """Traces (E, 4 each) of four kinds: learnt early, learnt late but fully, never learnt, wavering at the end."""
    random = np.random.default_rng(seed)
    at = np.arange(checkpoints)[:, None]
    early = 2.3 * np.exp(-at / random.uniform(1, 2, each))
    late = 3.0 / (1 + np.exp((at - random.uniform(12, 18, each)) / 1.5))
    never = random.uniform(2.5, 4.5, each) + random.normal(0, 0.8, (checkpoints, each))
    waver = 1.0 + 0.2 * np.sin(at + random.uniform(0, 6, each))
    return np.concatenate([early, late, np.abs(never), waver], axis=1).astype(np.float32), np.repeat(range(4), each)


def test_lt_iqr_is_the_quartile_range_of_each_trace():
    losses, _ = kinds_of_traces(seed=1)
    losses[3, 5] = np.nan
    found = exposure.lt_iqr(losses)
    for sample in range(losses.shape[1]):
        ranked = sorted(float(one) for one in losses[:, sample])
        if np.isnan(ranked).any():
            assert np.isnan(found[sample])
            continue

        def quantile(share, ranked=ranked):
            place = share * (len(ranked) - 1)
            low = int(place)
            return ranked[low] + (place - low) * (ranked[min(low + 1, len(ranked) - 1)] - ranked[low])

        assert found[sample] == pytest.approx(quantile(0.75) - quantile(0.25), abs=1e-6)
    assert np.isnan(exposure.lt_iqr(losses[:3])).all()


def test_what_is_learnt_late_but_fully_comes_first_and_what_is_never_learnt_last():
    losses, kind = kinds_of_traces()
    ranks = exposure.order(exposure.lt_iqr(losses), losses[-1])
    assert set(np.flatnonzero(ranks <= 40)) == set(np.flatnonzero(kind == 1))
    assert (ranks[kind == 2] > ranks[kind == 0].max()).all()
    assert sorted(ranks) == list(range(1, 161))
    spread = exposure.lt_iqr(losses)
    spread[7] = np.nan
    ranks = exposure.order(spread, losses[-1])
    assert ranks[7] == 0 and ranks.max() == 159


@pytest.mark.parametrize("idle", [0, 1, 6])
def test_a_warm_up_at_chance_is_told(idle):
    losses, _ = kinds_of_traces()
    whole = np.concatenate([np.full((idle, losses.shape[1]), np.log(10)), losses / 4])
    assert exposure.warm_up(whole, float(np.log(10))) == idle
    assert exposure.warm_up(np.full((5, 3), 9.0), 1.0) == 0


def test_the_loss_attack_beside_a_loop_and_sklearn():
    random = np.random.default_rng(3)
    members, others = random.gamma(1, 0.5, 700).round(2), random.gamma(1, 1.0, 1300).round(2)  # with ties
    found = exposure.attack(np.append(members, np.nan), others)
    truth = np.repeat([1, 0], [700, 1300])
    assert found.members == 700 and found.auroc == pytest.approx(roc_auc_score(truth, -np.append(members, others)))
    for rate in found.found:
        allowed = int(rate.rate * 1300)
        best = 0.0
        for threshold in np.unique(members):  # the best that lets so many others pass at most
            if (others <= threshold).sum() <= allowed:
                best = max(best, float((members <= threshold).mean()))
        assert rate.found == pytest.approx(best) and rate.low <= rate.found <= rate.high
    for rate in found.spared:
        if rate.measured:
            allowed = int(rate.rate * 700)
            best = max(float((others >= one).mean()) for one in np.unique(others) if (members >= one).sum() <= allowed)
            assert rate.found == pytest.approx(best)


def test_a_rate_that_the_others_are_too_few_for_is_not_measured():
    members, others = np.linspace(0, 1, 5000), np.linspace(0, 1, 400)
    small = exposure.attack(members, others)
    assert small.found[0].measured and not small.found[1].measured and small.spared[1].measured
    assert exposure.attack(members, np.linspace(0, 1, 1000)).found[1].measured
    assert np.isnan(small.found[1].low)
    with pytest.raises(ValueError, match="got 0 and 400"):
        exposure.attack(np.full(4, np.nan), others)


def test_equal_losses_tell_nobody():
    same = exposure.attack(np.zeros(2000), np.zeros(2000))
    assert same.auroc == 0.5 and [one.found for one in same.found] == [0, 0]


def test_intervals_of_a_rate_hold_it():
    """The true share at a rate of 1 %, of Gaussians, lies in the 90 % interval in most draws of 1,000 others."""
    random, truth, inside = np.random.default_rng(0), 1 - norm.cdf(norm.ppf(0.99) - 2), 0
    for _ in range(100):
        rate = exposure.found_at(random.normal(2, 1, 20_000), random.normal(size=1000), 0.01)
        inside += rate.low - 0.01 <= truth <= rate.high + 0.01
    assert inside >= 85


def made_shadows(shadows=80, samples=400, shift=2.0, seed=0):
    """Statistics (S, N) whose mean lies `shift` x strength of a sample higher where it was a member."""
    random = np.random.default_rng(seed)
    member = random.random((shadows, samples)) < 0.5
    strength = np.linspace(0, 1, samples)
    level = random.normal(0, 3, samples)
    return level + shift * strength * member + random.normal(0, 1, member.shape), member, strength


def test_the_likelihood_ratio_is_that_of_two_gaussians():
    shadows, member, _ = made_shadows()
    target = np.random.default_rng(9).normal(0, 3, shadows.shape[1])
    found = membership.likelihood_ratio(shadows, member, target)
    for sample in range(0, 400, 37):
        ratio = 0.0
        for sign, side in ((1, member[:, sample]), (-1, ~member[:, sample])):
            values = shadows[side, sample]
            if side.sum() >= membership.FEW:
                spread = values.std(ddof=1)
            else:
                total, free = 0.0, 0
                for one in range(400):
                    some = shadows[member[:, one] if sign > 0 else ~member[:, one], one]
                    total, free = total + ((some - some.mean()) ** 2).sum(), free + len(some) - 1
                spread = np.sqrt(total / free)
            ratio += sign * norm.logpdf(target[sample], values.mean(), spread)
        assert found[sample] == pytest.approx(ratio)


def test_members_are_told_the_better_the_more_they_shift():
    shadows, member, strength = made_shadows(seed=4)
    truth = np.random.default_rng(5).random((1, 400)) < 0.5
    level = np.where(member, np.nan, shadows)
    target = np.nanmean(level, axis=0) + 2.0 * strength * truth[0] + np.random.default_rng(6).normal(0, 1, 400)
    ratio = membership.likelihood_ratio(shadows, member, target)
    strong = strength > 0.7
    assert roc_auc_score(truth[0][strong], ratio[strong]) > 0.82 > roc_auc_score(truth[0], ratio) > 0.6
    distance = membership.distance(shadows, member)
    assert np.corrcoef(distance, strength)[0, 1] > 0.85 and abs(distance[:40].mean()) < 0.2


def test_log_odds_are_those_of_the_label_and_stay_finite():
    p = np.array([0.5, 0.9, 1e-3])
    assert membership.log_odds(-np.log(p)) == pytest.approx(np.log(p / (1 - p)))
    assert np.isfinite(membership.log_odds(np.array([0.0, 1e4]))).all()
    with pytest.raises(ValueError, match="member bool"):
        membership.distance(np.zeros((3, 4)), np.zeros((3, 4)))


@pytest.mark.parametrize("binary", [True, False])
def test_memorization_is_the_difference_of_two_means(binary):
    random = np.random.default_rng(2)
    member = random.random((60, 25)) < 0.7
    member[:, 0], member[:, 1] = True, False
    chance = np.where(member, 0.9, np.linspace(0, 0.9, 25))
    answers = random.random(member.shape) < chance if binary else random.normal(chance, 0.1)
    found, error = memorization(member, answers)
    assert np.isnan(found[:2]).all()
    for sample in range(2, 25):
        inside, outside = answers[member[:, sample], sample], answers[~member[:, sample], sample]
        assert found[sample] == pytest.approx(inside.mean() - outside.mean())
        ddof = 0 if binary else 1
        assert error[sample] ** 2 == pytest.approx(
            inside.var(ddof=ddof) / len(inside) + outside.var(ddof=ddof) / len(outside)
        )
    truth = 0.9 - np.linspace(0, 0.9, 25)
    assert (np.abs(found - truth)[2:] < 4 * error[2:] + 0.05).all() and np.corrcoef(found[2:], truth[2:])[0, 1] > 0.8


def test_one_training_on_a_side_has_no_error():
    member = np.array([[True], [True], [False]])
    for answers in (np.array([[0.9], [0.8], [0.2]]), np.array([[True], [True], [False]])):
        found, error = memorization(member, answers)
        assert found[0] > 0.6 and np.isnan(error[0])


def test_the_librarys_function_takes_a_row_a_sample():
    from lossprint import scoring

    losses, _ = kinds_of_traces()
    assert scoring.exposure(losses.T) == pytest.approx(exposure.lt_iqr(losses))
