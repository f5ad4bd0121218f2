"""What makes an evaluation cheap: bfloat16, which is a training of its own, and that no subset is chosen twice."""

import pytest
import torch
from coreset_runs import at_home_on_disk
from helpers import make_run

from lossprint.audit.coresets import coreset as coresets
from lossprint.audit.coresets import evaluate
from lossprint.audit.training import train
from lossprint.audit.types import LossprintError

QUICK = {"seeds": 1, "steps": 6, "jobs": 1, "device": "cpu", "quiet": True}


@pytest.fixture
def run(tmp_path):
    return at_home_on_disk(make_run(tmp_path, train=12, held_out=5, checkpoints=3).path.parent)


@pytest.fixture
def trained(monkeypatch):
    """The precision of each training, and whether convolutions were asked for in bfloat16."""
    calls, fit = [], train.fit

    def counted(inputs, rows, **how):
        seen = set()

        def look(module, args, output):
            seen.add(output.dtype)

        with torch.nn.modules.module.register_module_forward_hook(look):
            network = fit(inputs, rows, **how)
        assert all(weight.dtype == torch.float32 for weight in network.parameters())
        calls.append((how["precision"], torch.bfloat16 in seen))
        return network

    monkeypatch.setattr(train, "fit", counted)
    return calls


def test_another_precision_is_another_training_and_the_first_is_found_without_its_name(run, trained):
    whole = evaluate.evaluate(run, ["random"], [0.5], **QUICK)
    assert set(whole["precision"]) == {"float32"} and trained == [("float32", False)]
    run.update_evaluation(lambda table: table.drop(columns="precision"))
    again = evaluate.evaluate(run, ["random"], [0.5], **QUICK)
    assert len(trained) == 1, "what an earlier version trained was trained again"
    assert (again["precision"] == "float32").all() and (again["right"] == whole["right"]).all()
    for _ in range(2):
        table = evaluate.evaluate(run, ["random"], [0.5], precision="bfloat16", **QUICK)
        assert trained == [("float32", False), ("bfloat16", True)]
    assert set(table["precision"]) == {"bfloat16"} and not set(table["key"]) & set(whole["key"])


def test_an_unknown_precision_is_one_line(run):
    with pytest.raises(LossprintError, match="expected a precision among auto, float32, bfloat16, found 'half'"):
        evaluate.evaluate(run, ["random"], [0.5], precision="half", **QUICK)


@pytest.fixture
def asked(monkeypatch):
    """What was chosen, in turn."""
    calls, choose = [], coresets.choose

    def counted(source, ask):
        calls.append(ask)
        return choose(source, ask)

    monkeypatch.setattr(coresets, "choose", counted)
    return calls


@pytest.mark.parametrize(("fraction", "by", "chosen"), [(0.1, "facility_cleaned", 1), (0.5, "random_cleaned", 6)])
def test_what_is_recommended_is_chosen_once_where_chance_has_no_part(run, trained, asked, fraction, by, chosen):
    table = evaluate.evaluate(run, ["recommended", by], [fraction], **QUICK | {"seeds": 3})
    keys = table.drop_duplicates(["method", "seed"]).pivot(index="seed", columns="method", values="key")
    assert (keys["recommended"] == keys[by]).all() and keys[by].nunique() == len(trained) == 3
    assert len(asked) == chosen
    evaluate.evaluate(run, ["recommended"], [fraction], one_of_duplicates=True, **QUICK | {"seeds": 3})
    assert len(asked) == chosen + 3  # of two duplicates another seed may choose the other


def test_all_samples_are_not_ranked_first(run, trained, asked):
    table = evaluate.evaluate(run, ["facility", "csl_hard"], [1.0], **QUICK)
    assert {one.method for one in asked} == {"random"} and set(table["method"]) == {"facility", "csl_hard"}
    assert set(table["train_samples"]) == {36} and len(trained) == 1
    evaluate.evaluate(run, ["facility"], [1.0], equal=True, **QUICK)
    assert asked[-1].method == "facility"  # the same number of each class need not be all
