"""Numbers and lists in words."""

from lossprint.audit.words import hundredths, listed, percent, plural, some, verb


def test_numbers_agree_with_their_noun_and_verb():
    assert [plural(number, "image") for number in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
    assert plural(2, "class", "classes", space="_") == "2_classes"
    assert [verb(1, word) for word in ("is", "was", "has", "counts")] == ["is", "was", "has", "counts"]
    assert [verb(2, word) for word in ("is", "was", "has", "counts")] == ["are", "were", "have", "count"]


def test_a_small_share_has_a_digit_more():
    assert [hundredths(share) for share in (0, 0.012, 0.0994, 0.0996, 0.5, 1)] == ["0", "1.2", "9.9", "10", "50", "100"]
    assert percent(0.5) == "50\N{NO-BREAK SPACE}%"


def test_lists_end_and_long_ones_are_cut():
    assert [listed(list(names)) for names in ("", "a", "ab", "abcde")] == ["", "a", "a and b", "a, b, c, d and e"]
    assert listed(list("abcdefg")) == "a, b, c, d and 3 others"
    assert some([4, 9]) == "4, 9" and some(range(12)) == "0, 1, 2, 3, 4 and 7 more"
    assert some(iter("abc"), 2) == "a, b and 1 more"
