"""Questions: which choices are offered, by which key, and what each stores; nothing that is hidden shows."""

import numpy as np
import pytest
from helpers import make_run

from lossprint.app import data
from lossprint.app.questions import asking

CLASSES = ("bag", "coat", "dress", "shirt")
MANY = tuple(f"class {at:02d}" for at in range(40))


def asked(tier="verify", blind="", classes=CLASSES, likely=("shirt", "coat", "bag"), suggested="shirt", **more):
    return asking.about_label(
        7, "coat", suggested, likely, classes, **{"kind": "label_error"} | more, tier=tier, blind=blind
    )


def by_key(found) -> dict:
    return {key: found.means[choice.id] for choice in found.choices for key in choice.keys}


def test_verify_is_yes_or_no_first():
    found = asked()
    assert found.title == "Is this shirt?" and (found.given, found.suggested) == ("coat", "shirt")
    assert [choice.text for choice in found.choices[:2]] == ["It is shirt", "Keep coat"]
    assert by_key(found) == {
        "A": [(7, "accept", "shirt")],
        "K": [(7, "keep", None)],
        "1": [(7, "relabel", "bag")],
        "2": [(7, "relabel", "dress")],
        "X": [(7, "exclude", None)],
        "N": [(7, "unsure", None)],
    }
    assert found.labels == ()


def test_correct_lists_the_likely_labels_first_and_the_rest_after():
    found = asked("correct", likely=("shirt", "bag"))
    assert found.title == "Is this coat, or shirt?"
    texts = [choice.text for choice in found.choices]
    assert texts == ["shirt", "bag", "coat (given)", "dress", "Exclude", "Unsure"]
    keys = by_key(found)
    assert keys["1"] == keys["A"] == [(7, "accept", "shirt")]
    assert keys["3"] == keys["K"] == [(7, "keep", None)]
    assert keys["4"] == [(7, "relabel", "dress")]


def test_many_labels_are_searched_for():
    found = asked("correct", classes=(*MANY, "coat", "shirt"), likely=("shirt", "class 03"))
    assert [choice.text for choice in found.choices][:3] == ["shirt", "class 03", "coat (given)"]
    assert len(found.labels) == 42

    def name(label):
        return asking.decide_label(7, label, "coat", "shirt")

    assert found.decisions("label:class 30", name) == [(7, "relabel", "class 30")]
    assert found.decisions("label:coat", name) == [(7, "keep", None)]
    assert found.decisions("label:shirt", name) == [(7, "accept", "shirt")]
    assert found.decisions("label:no such", name) is None and found.decisions("nothing", name) is None


@pytest.mark.parametrize("tier", ["verify", "correct", "look"])
@pytest.mark.parametrize("classes", [CLASSES, (*MANY, "coat", "shirt")])
def test_a_hidden_given_label_is_one_among_the_others(tier, classes):
    found = asked(tier, "given", classes=classes)
    texts = [choice.text for choice in found.choices]
    assert found.title == "What does this show?" and found.given == found.suggested == found.hint == ""
    assert "coat" in texts and "shirt" in texts
    assert not any("given" in text or "Keep" in text or "It is" in text for text in texts)
    named = [text for text in texts if text not in ("Exclude", "Unsure")]
    assert named == sorted(named)  # not in the order of likelihood, which would point at the suggestion
    assert not {"A", "K"} & set(by_key(found))
    assert by_key(found)[str(named.index("coat") + 1)] == [(7, "keep", None)]


@pytest.mark.parametrize("tier", ["verify", "correct", "look"])
def test_a_hidden_suggestion_shows_nowhere(tier):
    found = asked(tier, "suggestion")
    texts = [choice.text for choice in found.choices]
    assert found.title == "Is this coat?" and found.suggested == ""
    assert "A" not in by_key(found) and by_key(found)["K"] == [(7, "keep", None)]
    named = [text for text in texts if text in CLASSES]
    assert named == sorted(named) and "shirt" in named
    assert by_key(found)[next(c.keys[0] for c in found.choices if c.text == "shirt")] == [(7, "accept", "shirt")]


def test_without_a_suggestion_and_with_one_class():
    found = asked("look", suggested=None, likely=())
    assert found.title == "Is this coat?" and found.choices[0].text == "It is coat"
    alone = asked("look", suggested=None, likely=(), classes=("coat",))
    assert set(by_key(alone)) == {"K", "X", "N"}
    assert asked(suggested="coat").suggested == ""  # a group's suggestion may be the label that is there
    assert asked(kind="outlier", suggested=None, tier="look").title == "Does this belong, as coat?"


def test_every_key_means_one_thing():
    for tier in ("verify", "correct", "look"):
        for blind in ("", "given", "suggestion"):
            keys = [key for choice in asked(tier, blind).choices for key in choice.keys]
            assert len(keys) == len(set(keys)) and not {"S", "U", "Z", "C", "/"} & set(keys)


def test_queues_of_a_run(tmp_path):
    loaded = data.load(make_run(tmp_path).path)
    assert asking.queue(loaded, "Everything", "", False)["group"].tolist()[:2] == ["label_error:4", "label_error:1"]
    assert set(asking.queue(loaded, "Duplicates", "", False)["kind"]) == {"duplicate", "near_duplicate"}
    audit = asking.queue(loaded, "Random audit", "", False)
    flagged = set(loaded.findings["sample"])
    train = loaded.samples.index[loaded.samples["split"] == "train"]
    assert {samples[0] for samples in audit["samples"]} == set(train) - flagged
    mixed = asking.queue(loaded, "Labels", "", True)
    assert len(mixed) == len(asking.queue(loaded, "Labels", "", False)) + len(audit)


def test_a_conflicting_group_asks_for_the_label(tmp_path):
    loaded = data.load(make_run(tmp_path, classes=("coat", "shirt")).path)
    history = data.reviews(loaded).history()
    found = asking.about_group(loaded, "duplicate:0", [3, 0], np.array([1.0, 2.0]), history)
    assert found.title == "Which label is right?"
    assert by_key(found) == {
        "1": [(3, "keep", None), (0, "exclude", None)],
        "2": [(0, "keep", None), (3, "exclude", None)],
        "K": [(3, "keep", None), (0, "keep", None)],
        "X": [(3, "exclude", None), (0, "exclude", None)],
        "N": [(3, "unsure", None)],
    }


def test_a_group_of_one_label_asks_which_copy_stays(tmp_path):
    loaded = data.load(make_run(tmp_path).path)
    history = data.reviews(loaded).history()
    found = asking.about_group(loaded, "duplicate:0", [3, 0], np.array([2.0, 1.0]), history)
    assert found.title == "Keep one copy only?" and "#0 would stay" in found.hint
    keys = by_key(found)
    assert keys["A"] == [(0, "keep", None), (3, "exclude", None)]
    assert keys["1"] == [(3, "keep", None), (0, "exclude", None)]
    assert "2" not in keys and keys["K"] == [(3, "keep", None), (0, "keep", None)]
