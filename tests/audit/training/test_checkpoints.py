"""Checkpoints that somebody saved: their order, the weights in them, and that nothing in them runs."""

import argparse
import collections
import datetime
import pathlib
import pickle
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Trap
from safetensors.torch import save_file
from torch import nn

from lossprint.audit import LossprintError
from lossprint.audit.cli import main as cli
from lossprint.audit.training.checkpoints import find_checkpoints, fitted, read_weights
from lossprint.audit.training.models import Small
from lossprint.audit.training.networks import giving_logits

# ------------------------------------------------------------------------------------------------- which files


@pytest.mark.parametrize(
    ("names", "numbers", "says"),
    [
        (["e10.pt", "e2.pt", "e1.pt"], {"e1.pt": 1, "e2.pt": 2, "e10.pt": 10}, ""),
        (["seed0_ep3.pt", "seed0_ep1.pt", "seed0_ep2.pt"], {f"seed0_ep{n}.pt": n for n in (1, 2, 3)}, ""),
        (["epoch=0-step=90.ckpt", "epoch=1-step=180.ckpt", "epoch=2-step=270.ckpt", "last.ckpt"],
         {"epoch=0-step=90.ckpt": 90, "epoch=1-step=180.ckpt": 180, "epoch=2-step=270.ckpt": 270}, "not taken"),
        (["epoch=1-loss=0.53.pt", "epoch=2-loss=0.41.pt", "epoch=3-loss=0.07.pt"],
         {"epoch=1-loss=0.53.pt": 1, "epoch=2-loss=0.41.pt": 2, "epoch=3-loss=0.07.pt": 3}, ""),
        (["epoch_1_acc_91.pth", "epoch_2_acc_88.pth", "epoch_3_acc_95.pth"],
         {"epoch_1_acc_91.pth": 1, "epoch_2_acc_88.pth": 2, "epoch_3_acc_95.pth": 3}, ""),
        (["epoch0.pt", "epoch1.pt", "epoch2.pt"], {"epoch0.pt": 1, "epoch1.pt": 2, "epoch2.pt": 3}, "count from 0"),
        (["0.pt", "1.pt", "2.pt", "3.pt"], {"0.pt": 0, "1.pt": 1, "2.pt": 2, "3.pt": 3}, "initial weights"),
        (["a2-v1.pt", "a10-v1.pt", "a1-v1.pt"], {"a1-v1.pt": 1, "a2-v1.pt": 2, "a10-v1.pt": 3}, "in the order of"),
        (["a.pth.tar", "b.pth.tar", "c.pth.tar"], {"a.pth.tar": 1, "b.pth.tar": 2, "c.pth.tar": 3}, "in the order of"),
        (["1.pt", "1.safetensors", "2.pt", "3.pt"], {"1.safetensors": 1, "2.pt": 2, "3.pt": 3}, "not taken"),
        (["1.pt", "2.pt", "3.pt", "optimizer_3.pt", ".4.pt", "log"], {"1.pt": 1, "2.pt": 2, "3.pt": 3}, "not taken"),
    ],
)  # fmt: skip
def test_the_order_of_checkpoints(names, numbers, says, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    saved, notes = find_checkpoints(tmp_path)
    assert {one.name: one.number for one in saved} == numbers
    assert [one.number for one in saved] == sorted(numbers.values())
    assert says in " ".join(notes) and f"{saved[-1].name} as {saved[-1].number}" in notes[0]


def test_too_few_checkpoints(tmp_path):
    for name, says in (("0.pt", "0.pt"), ("1.pt", "0.pt, 1.pt"), ("2.pt", "0.pt, 1.pt, 2.pt")):
        (tmp_path / name).touch()
        with pytest.raises(LossprintError, match=f"at least 3 checkpoints.* found {says}$"):
            find_checkpoints(tmp_path)
    for place, says in ((tmp_path / "gone", "found nothing"), (tmp_path / "0.pt", "found a file")):
        with pytest.raises(LossprintError, match=says):
            find_checkpoints(place)


# ------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize("form", ["torch", "pickle", "protocol 2", "legacy"])
def test_a_hostile_checkpoint_is_refused_and_does_not_run(form, small_dataset, tmp_path, capsys):
    marker, saved = tmp_path / "MARKER", tmp_path / "saved"
    saved.mkdir()
    for number in (1, 2, 3):
        torch.save(Small(3).state_dict(), saved / f"{number}.pt")
    content = {"state_dict": Small(3).state_dict(), "hyper_parameters": Trap(marker)}
    file = saved / "4.pt"
    if form in ("torch", "legacy"):
        torch.save(content, file, _use_new_zipfile_serialization=form == "torch")
    else:
        file.write_bytes(pickle.dumps(Trap(marker), protocol=2 if "2" in form else 4))
    options = ["--checkpoints", saved, "--model", "small", "--dataset", small_dataset]
    status = cli.main([str(one) for one in ["record", *options, "--out", tmp_path / "new", "--quiet"]])
    error = capsys.readouterr().err
    assert status == 2 and error.count("\n") == 1 and str(file) in error, error
    assert "Python objects" in error and "torch.save(model.state_dict(), FILE)" in error
    assert not marker.exists() and not (tmp_path / "new").exists()
    if form == "torch":
        with open(file, "rb") as opened:  # it would have run
            torch.load(opened, weights_only=False)
        assert marker.exists()


def spoilt(state: dict, folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that hold no weights of the network, and what is said of each."""
    whole = folder / "whole.pt"
    torch.save(state, whole)
    data = whole.read_bytes()
    whole.unlink()
    safe = folder / "x.safetensors"
    save_file(state, safe)
    cut = safe.read_bytes()[:-100]
    safe.unlink()
    head = {**state, "head.weight": torch.zeros(10, 128), "head.bias": torch.zeros(10)}
    return {
        "cut.pt": (data[: len(data) // 2], "found a file that was cut off"),
        "cut.safetensors": (cut, "expected weights in"),
        "empty.pt": (b"", "expected weights in"),
        "text.pt": (b"hello", "expected weights in"),
        "head.pt": (head, "head.weight of shape (10, 128) instead of (3, 128)"),
        "other.pt": (nn.Linear(2, 2).state_dict(), "47 of 47 tensors missing, such as stem.0.weight"),
        "half.pt": (
            {n: t for n, t in state.items() if "stem" not in n},
            "5 of 47 tensors missing, such as stem.0.weight",
        ),
        "more.pt": ({**state, "aux.weight": torch.ones(1)}, "1 that it does not have, such as aux.weight"),
        "list.pt": ([torch.ones(1)], "found list"),
        "nothing.pt": ({"epoch": 3}, "no tensors by name"),
        "module.pt": (Small(3), "found Python objects (lossprint.audit.training.models.Small)"),
    }


def test_a_file_that_holds_no_weights_of_the_network_is_one_line(tmp_path):
    for name, (content, says) in spoilt(Small(3).state_dict(), tmp_path).items():
        file = tmp_path / name
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        with pytest.raises(LossprintError) as error:
            fitted(read_weights(file), Small(3), file)
        text = str(error.value)
        assert says in text and str(file) in text and "\n" not in text, f"{name}: {text}"


def test_old_forms_give_the_tensors_themselves(tmp_path):
    state = Small(3).state_dict()
    legacy = tmp_path / "legacy.pt"
    torch.save({"state_dict": state}, legacy, _use_new_zipfile_serialization=False)
    old = tmp_path / "old.pt"  # before torch 0.4.1 batch norm counted no batches
    torch.save({name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}, old)
    for file in (legacy, old):
        found = fitted(read_weights(file), Small(3), file)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[n], t) for n, t in state.items() if "num_batches" not in n)


# ------------------------------------------------------------------------------------------------- real libraries


def test_what_lightning_saves(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self, rate=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.net, self.loss = Small(3), nn.CrossEntropyLoss(weight=torch.ones(3))

        def training_step(self, batch, _):
            loss = self.loss(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=self.hparams.rate)

    data = torch.utils.data.TensorDataset(torch.rand(8, 3, 28, 28), torch.arange(8) % 3)
    options = {"filename": "{epoch}-{loss:.2f}", "save_top_k": -1, "save_last": True, "monitor": "loss"}
    keep = lightning.callbacks.ModelCheckpoint(tmp_path, **options)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    module = Module()
    trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", callbacks=[keep], **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))
    saved, notes = find_checkpoints(tmp_path)
    assert [one.number for one in saved] == [1, 2, 3] and "not taken as checkpoints: last.ckpt" in notes
    weights = [fitted(read_weights(one.path), Small(3), one.path) for one in saved]
    assert all(torch.equal(weights[2][name], tensor) for name, tensor in module.net.state_dict().items())
    assert not torch.equal(weights[0]["head.weight"], weights[2]["head.weight"])


def test_what_hugging_faces_trainer_saves(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    def network():
        sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        return transformers.ResNetForImageClassification(transformers.ResNetConfig(**sizes, num_labels=3))

    data = [{"pixel_values": torch.rand(3, 28, 28), "labels": at % 3} for at in range(12)]
    options = {"num_train_epochs": 3, "save_strategy": "epoch", "per_device_train_batch_size": 4, "use_cpu": True}
    arguments = transformers.TrainingArguments(str(tmp_path), report_to=[], disable_tqdm=True, **options)
    trained = network()
    transformers.Trainer(trained, arguments, train_dataset=data).train()
    trained.save_pretrained(tmp_path)
    saved, notes = find_checkpoints(tmp_path)
    assert [(one.number, one.name) for one in saved] == [(at, f"checkpoint-{at}") for at in (3, 6, 9)]
    assert any("model.safetensors" in note for note in notes)
    weights = fitted(read_weights(saved[-1].path), network(), saved[-1].path)
    assert all(torch.equal(weights[name], tensor) for name, tensor in trained.state_dict().items())
    with pytest.raises(LossprintError, match="Python objects"):
        read_weights(saved[-1].path.with_name("training_args.bin"))
    module = giving_logits(network(), torch.rand(2, 3, 28, 28), 3, "own:network")
    assert module(torch.rand(4, 3, 28, 28)).shape == (4, 3)


# ------------------------------------------------------------------------------------------------- beside the weights


BESIDE = {
    "args of timm": argparse.Namespace(lr=0.1, data=pathlib.Path("/data"), inner=argparse.Namespace(seed=np.int64(3))),
    "metric": np.float64(0.5),
    "small metric": np.float32(0.5),
    "array": np.arange(3.0),
    "objects": np.array([{"a": 1}], dtype=object),
    "numpy's state": np.random.default_rng(0).bit_generator.state,
    "history": collections.defaultdict(list, {"loss": [np.float64(1)]}),
    "last": collections.deque([1, 2], 5),
    "when": datetime.datetime(2024, 1, 2),
    "split": [range(3), slice(1, 2), frozenset([1]), types.SimpleNamespace(a=1)],
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("new", [True, False])
def test_what_common_tools_write_beside_the_weights_is_passed_over(tmp_path, name, new):
    net = nn.Linear(3, 2)
    file = tmp_path / "1.pt"
    torch.save(
        {"epoch": 1, "state_dict": net.state_dict(), "beside": BESIDE[name]}, file, _use_new_zipfile_serialization=new
    )
    found = fitted(read_weights(file), nn.Linear(3, 2), file)
    assert torch.equal(found["weight"], net.weight)


def test_nothing_of_a_listed_name_is_run_and_nothing_stays_listed(tmp_path):
    class Listed:
        def __reduce__(self):
            return argparse.Namespace, (), {"path": Trap(tmp_path / "MARKER")}

    torch.save({"w": torch.ones(1), "args": Listed()}, tmp_path / "1.pt")
    with pytest.raises(LossprintError, match="found Python objects"):
        read_weights(tmp_path / "1.pt")
    assert not (tmp_path / "MARKER").exists()
    torch.save({"w": torch.ones(1), "args": argparse.Namespace(a=1)}, tmp_path / "2.pt")
    assert type(read_weights(tmp_path / "2.pt")["args"]).__name__ == "Forgotten"
    with pytest.raises(Exception, match=r"argparse\.Namespace"):
        torch.load(tmp_path / "2.pt", weights_only=True)
