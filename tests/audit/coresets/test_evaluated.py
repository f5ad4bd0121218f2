"""What an evaluation came to, by hand: means, deviations, the worst class, the difference to random, and as text."""

import numpy as np
import pandas as pd
import pytest

from lossprint.audit.coresets import evaluated


def planted() -> pd.DataFrame:
    """10 validation and 10 test images of each of two classes; two seeds of random and cld at one fraction."""
    right = {  # split, method, seed: right of a, right of b
        ("val", "random", 0): (6, 4),
        ("val", "random", 1): (8, 4),
        ("val", "cld", 0): (9, 8),
        ("val", "cld", 1): (7, 10),
        ("test", "random", 0): (5, 5),
        ("test", "random", 1): (5, 5),
        ("test", "cld", 0): (10, 10),
    }
    rows = [
        (split, method, seed, label, count)
        for (split, method, seed), counts in right.items()
        for label, count in zip("ab", counts)
    ]
    table = pd.DataFrame(rows, columns=["split", "method", "seed", "label", "right"])
    about = {"of": 10, "fraction": 0.3, "model": "small", "steps": 1000, "options": "", "train_samples": 30}
    return table.assign(**about, noisy=np.nan, outdated=False, data="x")


def test_cells_by_hand():
    found = evaluated.cells(planted()).set_index(["split", "method"])
    random, cld = found.loc[("val", "random")], found.loc[("val", "cld")]
    assert random["accuracy"] == pytest.approx(0.55) and random["spread"] == pytest.approx(0.05 * 2**0.5)
    assert (random["worst_label"], random["worst"], random["over_random"]) == ("b", 0.4, 0)
    assert cld["accuracy"] == pytest.approx(0.85) and cld["spread"] == pytest.approx(0, abs=1e-12)
    assert (cld["worst_label"], cld["worst"]) == ("a", 0.8)
    assert cld["over_random"] == pytest.approx(0.30) and cld["over_spread"] == pytest.approx(0.05 * 2**0.5)
    one = found.loc[("test", "cld")]
    assert one["seeds"] == 1 and np.isnan(one["spread"]) and one["over_random"] == 0.5 and np.isnan(one["over_spread"])
    alone = evaluated.cells(planted().query("method == 'cld'"))
    assert alone["over_random"].isna().all() and len(alone) == 2
    names = dict.fromkeys(("method", "model", "options", "split"), object)
    typed = evaluated.cells(planted().astype(dict.fromkeys([*names, "label"], "category")))
    pd.testing.assert_frame_equal(
        typed.astype({**names, "worst_label": object}), evaluated.cells(planted()), check_dtype=False
    )
    table = pd.concat([planted(), planted().assign(right=0, outdated=True, data="y")])
    pd.testing.assert_frame_equal(evaluated.cells(table), evaluated.cells(planted()))


def test_text_is_a_table_of_the_test_split():
    assert evaluated.text(planted()).splitlines() == [
        "accuracy on test, %: small, 1,000 steps",
        " " * 22 + "           30 %",
        "random                     50.0 ± 0.0",
        "cld                             100.0",
        "best on val, accuracy on test, %: small, 1,000 steps",
        "        30 %  cld                 100.0",
    ]
    assert evaluated.text(planted(), "val").splitlines()[2:] == [
        "random                     55.0 ± 7.1",
        "cld                        85.0 ± 0.0",
    ]
    assert evaluated.text(planted().query("split == 'val'")).startswith("accuracy on val")
    more = pd.concat([planted(), planted().assign(fraction=1.0, noisy=0.25).query("method == 'cld'")])
    lines = evaluated.text(more).splitlines()
    assert lines[1].split() == ["30", "%", "100", "%"] and lines[2].split() == ["random", "50.0", "±", "0.0"]
    assert lines[4] == "wrong labels among those kept, %: small, 1,000 steps" and lines[7].split() == ["cld", "25.0"]
    assert lines[7].index("25.0") == lines[3].rindex("100.0") + 1 and len(lines) == 10  # of all samples nothing is best


def judged(**accuracy: tuple[float, int]) -> pd.DataFrame:
    """Cells at 10 % of the validation split, and the opposite ones of the test split."""
    rows = [
        (split, name, abs(mean - (split == "test")), seeds)
        for split in ("val", "test")
        for name, (mean, seeds) in accuracy.items()
    ]
    return pd.DataFrame(rows, columns=["split", "method", "accuracy", "seeds"]).assign(fraction=0.1)


def test_the_method_to_choose_is_the_best_on_validation_samples():
    found = judged(csl_easy=(0.8, 3), random=(0.6, 3), facility_cleaned=(0.9, 3), recommended=(0.9, 3), cld=(0.95, 1))
    told = {"recommended": 0.9, "facility_cleaned": 0.9, "csl_easy": 0.8, "random": 0.6}  # one seed of cld says little
    assert evaluated.ranked(found, 0.1).to_dict() == told
    assert list(evaluated.ranked(found, 0.1).index) == list(told)  # of equal ones the first in METHODS
    assert list(evaluated.ranked(found.astype({"method": "category"}), 0.1).index) == list(told)
    assert evaluated.ranked(found[found["split"] == "test"], 0.1).empty, "test samples are never chosen on"
    assert evaluated.ranked(found, 0.3).empty and evaluated.ranked(found.assign(fraction=1.0), 1.0).empty
    assert evaluated.ranked(judged(random=(0.5, 3)), 0.1).empty, "of one method there is no best"
    assert evaluated.ranked(judged(random=(np.nan, 3), cld=(0.5, 3), csl_easy=(0.4, 3)), 0.1).index[0] == "cld"
