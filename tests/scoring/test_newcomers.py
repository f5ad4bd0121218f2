"""New samples against a bank: scores as plain loops give them, p-values that keep their level, shifts and intervals."""

import numpy as np
import pytest
from heads_data import planted
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from lossprint.scoring.heads import lda
from lossprint.scoring.heads.vote import vote
from lossprint.scoring.newcomers import foreign, labels, shift


def test_nnguide_and_distance_are_those_of_plain_loops(monkeypatch):
    features, _, _, _ = planted(120, 8)
    known, new = features[:90], features[90:]
    energy = np.random.default_rng(0).uniform(1, 3, 120)
    bank = foreign.Bank(foreign.bank(known, energy[:90]).rows, 7)
    monkeypatch.setattr(foreign, "ELEMENTS", 500)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = []
    for i in range(90, 120):
        products = sorted((energy[j] * unit[i] @ unit[j] for j in range(90)), reverse=True)
        expected.append(-np.mean(products[:7]) * energy[i])
    np.testing.assert_allclose(foreign.nnguide(bank, new, energy[90:]), expected, rtol=1e-4)
    plain = foreign.Bank(foreign.bank(known).rows, 7)
    least = [sorted(unit[i] @ unit[:90].T)[-7] for i in range(90, 120)]
    np.testing.assert_allclose(foreign.nearest(plain, new)[1], least, atol=1e-5)


def test_a_batch_that_belongs_keeps_the_level_and_a_foreign_group_is_named():
    features, _, _, _ = planted(1500, 30, share=0, apart=12.0)
    bank = foreign.bank(features[:600])
    far = 1 - foreign.nearest(bank, features[600:])[1]
    belongs = foreign.judged(far[450:], far[:450])
    assert belongs.found.mean() < 0.02 and 0.02 < (belongs.p <= 0.05).mean() < 0.09
    group = np.random.default_rng(3).normal(size=(40, 30)) * 0.02 + np.random.default_rng(2).normal(size=30)
    both = np.concatenate([features[1050:], group.astype(np.float32)])
    far_new = 1 - foreign.nearest(bank, both)[1]
    judged = foreign.judged(far_new, far[:450])
    assert judged.found[450:].all() and judged.found[:450].mean() < 0.03
    assert roc_auc_score(np.arange(490) >= 450, judged.severity) > 0.99


def test_discoveries_are_those_of_benjamini_and_hochberg_by_hand():
    p = np.array([0.9, 0.001, 0.04, 0.6, 0.013])  # thresholds .02, .04, .06, .08, .1
    assert foreign.discovered(p).tolist() == [False, True, True, False, True]
    assert not foreign.discovered(np.array([0.5, 0.9])).any() and len(foreign.discovered(np.empty(0))) == 0


def test_energies_do_not_know_a_constant_and_mahalanobis_is_the_definition():
    random = np.random.default_rng(0)
    logits, features, means = random.normal(size=(5, 3)), random.normal(size=(5, 4)), random.normal(size=(2, 4))
    np.testing.assert_allclose(foreign.energies(logits), foreign.energies(logits + 100))
    root = random.normal(size=(4, 4))
    precision = root @ root.T
    expected = [min((f - m) @ precision @ (f - m) for m in means) for f in features]
    np.testing.assert_allclose(foreign.mahalanobis(features, means, precision), expected)


def test_what_is_no_bank_or_score_is_refused():
    with pytest.raises(ValueError, match="2 samples"):
        foreign.bank(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="3 features"):
        foreign.nearest(foreign.bank(np.eye(3, dtype=np.float32)), np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="above 0"):
        foreign.judged(np.array([1.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="finite"):
        foreign.nnguide(foreign.bank(np.eye(3, dtype=np.float32)), np.eye(3, dtype=np.float32), np.full(3, np.nan))


def test_the_vote_on_new_samples_is_that_of_the_others_without_themselves():
    features, given, _, _ = planted(200, 8)
    whole = vote(features, given, 4, neighbours=20)
    for row in (0, 17, 199):
        rest = np.arange(200) != row
        one = labels.vote(features[rest], given[rest], 4, features[row : row + 1])
        np.testing.assert_allclose(one[0], whole[row], atol=1e-5)


def test_wrong_labels_of_a_batch_are_flagged_and_missing_ones_are_not():
    features, given, wrong, _ = planted(900, 20)
    known, new = slice(0, 600), slice(600, 900)
    from lossprint.scoring.heads.moments import moments, part

    head = lda.discriminant(part(moments(features[known], given[known], 4)), 0.3)
    logits = lda.applied([head], features[new])
    shares = labels.vote(features[known], given[known], 4, features[new])
    told = given[new].copy()
    told[:10] = -1
    found = labels.judged(logits, shares, told)
    assert np.isnan(found.margin[:10]).all() and not found.flagged[:10].any()
    assert (found.flagged == wrong[new])[10:].mean() > 0.95
    assert roc_auc_score(wrong[new][10:], -found.margin[10:]) > 0.97
    with pytest.raises(ValueError, match="from -1 to 3"):
        labels.judged(logits, shares, np.full(300, 4))


def test_a_shift_of_numbers():
    random = np.random.default_rng(0)
    same = shift.of_numbers(random.normal(size=300), random.normal(size=900))
    assert same.least == 0 and same.p > 0.01 and same.low < 0.5 < same.high
    moved = shift.of_numbers(random.normal(2, 1, 300), random.normal(size=900), tests=6)
    assert moved.p < 1e-9 and 0.4 < moved.least < moved.distance < 0.8 and moved.low > 0.85
    new, known = random.integers(0, 5, 40), random.integers(1, 6, 60)
    told = shift.of_numbers(new, known)
    assert told.above == pytest.approx(mannwhitneyu(new, known).statistic / 2400)
    assert shift.of_numbers([1.0], known) is None and shift.of_numbers([np.nan] * 9, known) is None


def test_intervals_of_shifts_hold_what_is_true():
    """Half of the batch is out of place: the lower end stays below that, and DeLong's interval holds the chance."""
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        new = np.where(random.random(120) < 0.5, random.normal(6, 1, 120), random.normal(size=120))
        told = shift.of_numbers(new, random.normal(size=400))
        assert told.least <= 0.5
        inside += told.low <= 0.75 <= told.high
    assert inside >= 90


def test_a_shift_of_classes():
    random = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.2])
    values = [shift.of_classes(random.multinomial(100, shares), random.multinomial(900, shares)).p for _ in range(200)]
    assert 0.01 < np.mean(np.array(values) < 0.05) < 0.1
    moved = shift.of_classes(np.array([100, 300, 600, 0]), np.array([500, 300, 200, 0]))
    assert moved.distance == pytest.approx(0.4) and 0.2 < moved.least < 0.4 and moved.p < 0.01
    assert shift.of_classes(np.zeros(3, int), np.ones(3, int)) is None
    with pytest.raises(ValueError, match="same classes"):
        shift.of_classes(np.ones(2, int), np.ones(3, int))
