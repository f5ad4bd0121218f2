"""`lossprint repair`: a run's network, its head, a file of the user's; what it writes, keeps and refuses."""

import json
import shutil
import sys
from pathlib import Path

import jsonschema
import networks_of_users
import numpy as np
import pytest
import torch
from conftest import cut_demo
from helpers import Trap, digests, make_run, one_line
from safetensors.torch import load_file
from torch import nn

from lossprint.audit.cli import main as cli
from lossprint.audit.cli import output
from lossprint.audit.export.applied import applied
from lossprint.audit.repair import layers, verified, words
from lossprint.audit.repair import repair as repairing
from lossprint.audit.repair.models import opened
from lossprint.audit.repair.repair import repair
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs import beside
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.verify import verify
from lossprint.audit.training import models, train
from lossprint.audit.workflow.audit import audit

SCHEMA = json.loads(Path(output.__file__).with_name("results.schema.json").read_text())
ARMS = ["original", "repaired", "finetuned", "retrained"]


@pytest.fixture(autouse=True)
def few_settings(monkeypatch):
    monkeypatch.setattr(repairing, "STRENGTHS", (30.0, 1e3, 1e5))
    monkeypatch.setattr(repairing, "RATES", (1e-3,))
    monkeypatch.setattr(repairing, "ROUNDS", 2)


def reviewed(path: Path, count: int = 108) -> Path:
    """Confirm the labels of so many training samples, and put one right, one out."""
    run = open_run(path)
    table = run.samples()
    ids = table.loc[table["split"] == "train", "sample"].tolist()[:count]
    rows = [{"finding": f"audit:{one}", "sample": one, "decision": "keep", "reviewer": "ann"} for one in ids]
    if count:
        rows[0] |= {"decision": "relabel", "new_label": run.classes[-1]}
        rows[1] |= {"decision": "exclude"}
    with open_reviews(run) as reviews:
        reviews.add_all(rows)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """net: an audit of two epochs; head: of the same data, on made features that tell the classes apart somewhat."""
    home = tmp_path_factory.mktemp("home")
    manifest = cut_demo(home / "data", 45, 25)
    audit(str(manifest), home / "net", model="small", epochs=2, curvature_checkpoints=0, quiet=True)
    samples = open_run(home / "net").samples()
    codes = samples["label"].map({name: at for at, name in enumerate(("bag", "dress", "sandal"))}).to_numpy(int)
    random = np.random.default_rng(0)
    vectors = random.normal(size=(len(codes), 12)) + 1.5 * np.eye(12)[codes]
    np.savez(home / "features.npz", features=vectors.astype(np.float32), path=samples["path"].to_numpy(str))
    audit(str(manifest), home / "head", features=home / "features.npz", model="frozen:features", quiet=True)
    for name in ("net", "head"):
        reviewed(home / name)
    return home


@pytest.fixture
def runs(home, tmp_path) -> Path:
    for name in ("net", "head"):
        shutil.copytree(home / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 4),
        nn.Conv1d(6, 4, 3, padding=1, stride=2),
        nn.Conv2d(6, 4, 3, padding="same", dilation=2),
        nn.Conv2d(6, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=3, padding_mode="reflect"),
        nn.Conv2d(6, 6, 3, padding=2, groups=6, padding_mode="circular"),
    ],
)
def test_what_goes_into_a_layer_times_its_weight_is_what_comes_out(layer):
    torch.manual_seed(0)
    shape = {nn.Linear: (5, 6), nn.Conv1d: (5, 6, 9), nn.Conv2d: (5, 6, 9, 8)}[type(layer)]
    images = torch.randn(shape)
    rows = layers.inputs_of(layer, images, 10_000, torch.Generator())
    weight = layer.weight.detach().reshape(len(rows), -1, rows.shape[-1])
    out = torch.cat([rows[at] @ weight[at].T for at in range(len(rows))], 1) + layer.bias
    true = layer(images)
    true = true if true.ndim == 2 else true.flatten(2).transpose(1, 2).reshape(-1, true.shape[1])
    torch.testing.assert_close(out, true, atol=1e-5, rtol=1e-4)
    some = layers.inputs_of(layer, images, 2, torch.Generator().manual_seed(0))
    assert some.shape[1] == (5 if isinstance(layer, nn.Linear) else 10)


def test_layers_are_projected_from_the_original_at_once_and_put_back():
    torch.manual_seed(1)
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight  # one weight, used twice
    network = nn.Sequential(first, nn.ReLU(), second, nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    images = torch.randn(30, 4)
    found = layers.measured(network, [(None, images, None)], 30)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert len(found) == 1
    gram = (images.T @ images + (hidden := torch.relu(first(images))).T @ hidden).double()
    rebuilt = found[0].directions[0] @ np.diag(found[0].share[0]) @ found[0].directions[0].T
    np.testing.assert_allclose(rebuilt, (gram / gram.trace()).detach().numpy(), atol=1e-6)
    with layers.at(found, 3.0):
        assert not torch.equal(network[0].weight, before["0.weight"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_command_says_all_and_changes_nothing_but_its_own_files(runs, capsys):
    run = runs / "net"
    before = digests(run)
    arguments = ["repair", "own", "--run", str(run), "--out", str(runs / "new.safetensors"), "--quiet"]
    assert cli.main([*arguments, "--epochs", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    jsonschema.validate(result, SCHEMA | SCHEMA["commands"]["repair"])
    assert [row["arm"] for row in result["arms"]] == ARMS
    assert {name: result["verified"][name] for name in ("samples", "confirmed", "relabelled")} == {
        "samples": 107,
        "confirmed": 106,
        "relabelled": 1,
    }
    assert (result["choosing"]["samples"], result["judging"]["samples"]) == (38, 37)
    assert result["cleaned"]["samples"] == 134 and result["cleaned"]["excluded"] == 1
    for row in result["arms"]:
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
    assert beside.repair(open_run(run))["sentences"] == result["sentences"] == words.sentences(result)
    after = digests(run)
    assert {name: digest for name, digest in after.items() if name != "repair.json"} == before
    assert verify(run).whole
    written = (runs / "new.safetensors").exists()
    assert written == (not result["original_kept"]) == (result["weights"] is not None)
    if written:
        assert json.loads((runs / "new.safetensors.json").read_text())["arms"] == result["arms"]


def test_repaired_weights_are_those_of_the_accuracy_that_is_said(runs):
    """A network whose last layer was spoilt where verified samples have no energy, as somebody saved it."""
    run = open_run(runs / "net")
    known = verified.decided(run, applied(run), 0)
    own = opened(run, "own", known, device="cpu", quiet=True)
    head = layers.measured(own.network, own.inputs.batches(known.verified, "cpu"), len(known.verified))[-1]
    weak = head.directions[0][:, head.share[0] < 1e-5]
    assert weak.shape[1] > 5
    state = run.read_checkpoint(run.saved_checkpoints()[-1])
    noise = np.random.default_rng(0).normal(size=(3, weak.shape[1])) @ weak.T
    state["head.weight"] = state["head.weight"] + 200 * torch.from_numpy(noise).float()
    torch.save({"epoch": 3, "state_dict": state}, runs / "mine.pt")
    before = (runs / "mine.pt").read_bytes()
    result = repair(run, str(runs / "mine.pt"), network="small", epochs=1)
    rows = {row["arm"]: row for row in result["arms"]}
    assert rows["repaired"]["accuracy"] > rows["original"]["accuracy"]
    assert result["weights"] == str(runs / "mine.repaired.safetensors")
    assert (runs / "mine.pt").read_bytes() == before
    own = models.build_model("small", 3, 28).eval()
    own.load_state_dict(load_file(result["weights"]))
    again = repair(run, result["weights"], network="small", epochs=1, out=runs / "again.safetensors")
    assert again["arms"][0]["accuracy"] == pytest.approx(rows["repaired"]["accuracy"])
    assert again["arms"][3]["accuracy"] == rows["retrained"]["accuracy"]


def test_a_users_network_with_a_transform_is_judged_as_the_runs_own(runs, monkeypatch):
    run = open_run(runs / "net")
    facts = run.manifest["facts"]["record"]
    statistics = f"\nMEAN, STD = {facts['mean'][0]}, {facts['std'][0]}\n"
    (runs / "repair_networks.py").write_text(Path(networks_of_users.__file__).read_text() + statistics)
    monkeypatch.chdir(runs)
    monkeypatch.syspath_prepend(str(runs))
    monkeypatch.delitem(sys.modules, "repair_networks", raising=False)
    file = runs / "net" / "checkpoints" / "00002.safetensors"
    out = {"out": runs / "mine.safetensors"}
    mine = repair(run, str(file), network="repair_networks:pair", epochs=1, **out)
    known = verified.decided(run, applied(run), 0)
    own = opened(run, "own", known, device="cpu", quiet=True)
    predicted = train.predict(own.network, own.inputs, known.judging, "cpu")
    right = (predicted == known.labels[known.judging]).mean()
    assert mine["arms"][0]["accuracy"] == pytest.approx(right, abs=0.03)
    assert "may not be yours" in mine["cleaned"]["how"]
    (runs / "mine.safetensors").unlink(missing_ok=True)
    assert "expected --network MODULE:FUNCTION" in one_line(repair, run, str(file), network="a b:c", **out)


def test_a_head_on_frozen_features(runs):
    run = open_run(runs / "head")
    result = repair(run)
    assert result["layers"] == 1 and "12 frozen features" in result["model"]
    rows = {row["arm"]: row["accuracy"] for row in result["arms"]}
    assert rows["original"] > 0.6 and rows["retrained"] > 0.6
    if result["weights"]:
        assert set(load_file(result["weights"])) == {"weight", "bias", "mean", "scale"}


def test_what_it_refuses_in_one_line(runs, tmp_path, capsys):
    run = open_run(runs / "net")
    few = make_run(tmp_path / "few")
    assert "at least 100 training samples whose label somebody has confirmed" in one_line(repair, few)
    assert "found 0 in" in one_line(repair, few)
    assert not (few.path / "repair.json").exists()
    assert "expected `own` or a file of weights" in one_line(repair, run, "nothing.pt")
    (runs / "there.safetensors").write_bytes(b"")
    assert "expected a new file" in one_line(repair, run, out=runs / "there.safetensors")
    assert "ends in .safetensors" in one_line(repair, run, out=runs / "there.pt")
    assert "none at" in one_line(repair, run, out=runs / "no" / "a.safetensors")
    assert "outside the run folder" in one_line(repair, run, out=run.path / "checkpoints" / "9.safetensors")
    assert "found it beside own" in one_line(repair, run, network="small")
    assert "found it beside own" in one_line(repair, run, size=28)
    torch.save({"a": torch.zeros(2)}, runs / "other.pt")
    assert "expected the weights of the network" in one_line(repair, run, str(runs / "other.pt"))
    marker = runs / "harm"
    torch.save({"a": Trap(marker)}, runs / "bomb.pt")
    assert "never loaded" in one_line(repair, run, str(runs / "bomb.pt")) and not marker.exists()
    (run.path / "repair.json").write_text('{"arms": [3]}')
    assert "expected a readable repair.json" in one_line(beside.repair, run)
    assert cli.main(["repair", "own", "--run", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_words_say_plainly_what_is_better():
    def row(arm, setting=None, over=None, repaired=None):
        gain = {"estimate": 0.0, "low": -0.1, "high": 0.1}
        return {"arm": arm, "setting": setting, "accuracy": 0.5, "low": 0.4, "high": 0.6} | {
            "over_original": over or gain,
            "over_repaired": repaired or gain,
        }

    better, worse = {"estimate": 0.2, "low": 0.1, "high": 0.3}, {"estimate": -0.2, "low": -0.3, "high": -0.1}
    result = {
        "verified": {"samples": 100, "confirmed": 90, "relabelled": 10, "without": ["bag"]},
        "choosing": {"of": "validation", "samples": 50},
        "judging": {"of": "test", "samples": 60},
        "cleaned": {"samples": 9, "relabelled": 1, "excluded": 0, "how": "so"},
    }

    def said(kept, *rows):
        return " ".join(words.sentences(result | {"original_kept": kept, "arms": list(rows)}))

    text = said(
        False,
        row("original"),
        row("repaired", 30.0, better),
        row("finetuned", 0.1, better, better),
        row("retrained", None, better, better),
    )
    for part in ("Retrain where you can", "Fine-tune instead", "+20.0 points", "none of bag", "repaired (SAP) 50.0 %"):
        assert part in text
    text = said(True, row("original"), row("repaired"), row("finetuned"), row("retrained", None, worse))
    assert "No strength helps: the original is kept" in text and "is worse than the original" in text
    text = said(True, row("original"), row("repaired", 30.0, worse), row("finetuned"), row("retrained"))
    assert "does not help on samples that did not choose it" in text and "cannot tell from none" in text
