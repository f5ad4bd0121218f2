"""Questions: which choices are offered, by which key, and what each stores; nothing that is hidden shows."""

import numpy as np
import pytest
from helpers import make_run

from lossprint.app import data
from lossprint.app.questions import questions

CLASSES = ("bag", "coat", "dress", "shirt")
MANY = tuple(f"class {at:02d}" for at in range(40))


def draft_of(tier="verify", blind="", classes=CLASSES, likely=("shirt", "coat", "bag"), suggested="shirt", **more):
    return questions.about_label(
        7, "coat", suggested, likely, classes, **{"kind": "label_error"} | more, tier=tier, blind=blind
    )


def by_key(draft) -> dict:
    return {key: offer.decisions for offer in draft.offers for key in offer.keys if offer.kind != "taken"}


def test_verify_is_yes_or_no_first():
    draft = draft_of()
    assert draft.title == "Is this shirt?" and (draft.given, draft.suggested) == ("coat", "shirt")
    assert [offer.text for offer in draft.offers[:2]] == ["It is shirt", "Keep coat"]
    assert by_key(draft) == {
        "A": [(7, "accept", "shirt")],
        "K": [(7, "keep", None)],
        "1": [(7, "relabel", "bag")],
        "2": [(7, "keep", None)],
        "3": [(7, "relabel", "dress")],
        "4": [(7, "accept", "shirt")],
        "X": [(7, "exclude", None)],
        "N": [(7, "unsure", None)],
    }
    assert draft.labels == ()


def test_correct_lists_the_likely_labels_first_and_the_rest_after():
    draft = draft_of("correct", likely=("shirt", "bag"))
    assert draft.title == "Is this coat, or shirt?"
    texts = [offer.text for offer in draft.offers]
    assert texts == ["shirt", "bag", "coat (given)", "dress", "Exclude", "Unsure"]
    keys = by_key(draft)
    assert keys["4"] == keys["A"] == [(7, "accept", "shirt")]
    assert keys["2"] == keys["K"] == [(7, "keep", None)]
    assert keys["3"] == [(7, "relabel", "dress")]


def test_many_labels_are_searched_for():
    draft = draft_of("correct", classes=(*MANY, "coat", "shirt"), likely=("shirt", "class 03"))
    assert [offer.text for offer in draft.offers][:3] == ["shirt", "class 03", "coat (given)"]
    assert len(draft.labels) == 42

    def name(label):
        return questions.decide_label(7, label, "coat", "shirt")

    assert draft.decisions("label:class 30", name) == [(7, "relabel", "class 30")]
    assert draft.decisions("label:coat", name) == [(7, "keep", None)]
    assert draft.decisions("label:shirt", name) == [(7, "accept", "shirt")]
    assert draft.decisions("label:no such", name) is None and draft.decisions("nothing", name) is None


@pytest.mark.parametrize("tier", ["verify", "correct", "look"])
@pytest.mark.parametrize("classes", [CLASSES, (*MANY, "coat", "shirt")])
def test_a_hidden_given_label_is_one_among_the_others(tier, classes):
    draft = draft_of(tier, "given", classes=classes)
    texts = [offer.text for offer in draft.offers]
    assert draft.title == "What does this show?" and draft.given == draft.suggested == draft.hint == ""
    assert "coat" in texts and "shirt" in texts
    assert not any("given" in text or "Keep" in text or "It is" in text for text in texts)
    named = [text for text in texts if text not in ("Exclude", "Unsure")]
    assert named == sorted(named)  # not in the order of likelihood, which would point at the suggestion
    assert not {"A", "K"} & set(by_key(draft))
    key = "2" if classes is CLASSES else "0w"  # the 41st class
    assert by_key(draft)[key] == [(7, "keep", None)]


@pytest.mark.parametrize("tier", ["verify", "correct", "look"])
def test_a_hidden_suggestion_shows_nowhere(tier):
    draft = draft_of(tier, "suggestion")
    texts = [offer.text for offer in draft.offers]
    assert draft.title == "Is this coat?" and draft.suggested == ""
    assert "A" not in by_key(draft) and by_key(draft)["K"] == [(7, "keep", None)]
    named = [text for text in texts if text in CLASSES]
    assert named == sorted(named) and "shirt" in named
    assert by_key(draft)[next(c.keys[0] for c in draft.offers if c.text == "shirt")] == [(7, "accept", "shirt")]


def test_without_a_suggestion_and_with_one_class():
    draft = draft_of("look", suggested=None, likely=())
    assert draft.title == "Is this coat?" and draft.offers[0].text == "It is coat"
    alone = draft_of("look", suggested=None, likely=(), classes=("coat",))
    assert set(by_key(alone)) == {"K", "X", "N"}
    assert draft_of(suggested="coat").suggested == ""  # a group's suggestion may be the label that is there
    assert draft_of(kind="outlier", suggested=None, tier="look").title == "Does this belong, as coat?"


def test_every_key_means_one_thing():
    for tier in ("verify", "correct", "look"):
        for blind in ("", "given", "suggestion"):
            offers = [offer for offer in draft_of(tier, blind).offers if offer.kind != "taken"]
            keys = [key for offer in offers for key in offer.keys]
            assert len(keys) == len(set(keys)) and not {"S", "U", "Z", "C", "/"} & set(keys)


def test_queues_of_a_run(tmp_path):
    loaded = data.load(make_run(tmp_path).path)
    assert questions.queue(loaded, "Everything", "", False)["group"].tolist()[:2] == ["label_error:4", "label_error:1"]
    assert set(questions.queue(loaded, "Duplicates", "", False)["kind"]) == {"duplicate", "near_duplicate"}
    audit = questions.queue(loaded, "Random audit", "", False)
    flagged = set(loaded.findings["sample"])
    train = loaded.samples.index[loaded.samples["split"] == "train"]
    assert {samples[0] for samples in audit["samples"]} == set(train) - flagged
    mixed = questions.queue(loaded, "Wrong labels", "", True)
    assert len(mixed) == len(questions.queue(loaded, "Wrong labels", "", False)) + len(audit)


def test_a_conflicting_group_asks_for_the_label(tmp_path):
    loaded = data.load(make_run(tmp_path, classes=("coat", "shirt")).path)
    history = data.reviews(loaded).history()
    draft = questions.about_group(loaded, "duplicate:0", [3, 0], np.array([1.0, 2.0]), history)
    assert draft.title == "Which label is right?"
    assert by_key(draft) == {
        "2": [(3, "keep", None), (0, "exclude", None)],
        "1": [(0, "keep", None), (3, "exclude", None)],
        "K": [(3, "keep", None), (0, "keep", None)],
        "X": [(3, "exclude", None), (0, "exclude", None)],
        "N": [(3, "unsure", None)],
    }


def test_a_group_of_one_label_asks_which_copy_stays(tmp_path):
    loaded = data.load(make_run(tmp_path).path)
    history = data.reviews(loaded).history()
    draft = questions.about_group(loaded, "duplicate:0", [3, 0], np.array([2.0, 1.0]), history)
    assert draft.title == "Keep one copy only?" and "#0 would stay" in draft.hint
    keys = by_key(draft)
    assert keys["A"] == [(0, "keep", None), (3, "exclude", None)]
    assert keys["B"] == [(3, "keep", None), (0, "exclude", None)] and "1" not in keys
    assert "2" not in keys and keys["K"] == [(3, "keep", None), (0, "keep", None)]


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 44, 45, 1000])
def test_each_class_has_one_key_for_good(count):
    classes = [f"class {at:04d}" for at in range(count)]
    keys = questions.class_keys(classes)
    assert len(set(keys.values())) == len(keys) == min(count, 10 if count <= 10 else 44)
    assert list(keys)[:9] == classes[:9] and list(keys.values())[:9] == list("123456789")[:count]
    for label, suggested, tier in (("class 0000", None, "look"), (classes[-1], "class 0000", "verify")):
        draft = questions.about_label(7, label, suggested, (), classes, tier=tier, kind="label_error")
        for offer in draft.offers:
            named = offer.text.removeprefix("It is ").removeprefix("Keep ")
            assert named not in keys or count == 1 or keys[named] in offer.keys
        assert count <= 10 or dict(draft.codes) == keys


def test_no_answer_is_big_where_the_question_is_ambiguous():
    kinds = {tier: [offer.kind for offer in draft_of(tier).offers] for tier in ("verify", "correct", "look")}
    assert "main" in kinds["verify"] and "main" not in kinds["correct"] + kinds["look"]
    assert kinds["look"].count("taken") == kinds["verify"].count("taken") == 2
