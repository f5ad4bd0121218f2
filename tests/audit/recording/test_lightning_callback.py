"""The recorder in Lightning's Trainer: it records what a plain loop finds, and the training ends in the same bits."""

import random
import warnings

import numpy as np
import pytest
import torch
from callback_data import TABLE, WIDTH, M, N, states, tensors
from helpers import benchmark
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lossprint.audit import LossprintError, open_run
from lossprint.audit.recording.plain_pass import WithIds, differ, undisturbed

lightning = pytest.importorskip("lightning.pytorch")

from lossprint.audit.recording import lightning as lightning_callback  # noqa: E402


class Module(lightning.LightningModule):
    """Dropout and batch norm: what draws, and what eval mode changes."""

    def __init__(self):
        super().__init__()
        layers = (torch.nn.Linear(WIDTH, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.3), torch.nn.Linear(16, 3))
        self.network = torch.nn.Sequential(*layers)

    def forward(self, features):
        return self.network(features)

    def training_step(self, batch, _):
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)


class ByProduct(Module):
    def __init__(self):
        super().__init__()
        self.handed: list[dict] = []

    def step(self, batch):
        ids, (features, labels) = batch
        logits = self(features)
        losses = F.cross_entropy(logits, labels, reduction="none")
        self.handed.append(dict(zip(ids.tolist(), losses.tolist())))
        return {"loss": losses.mean(), "lossprint": (ids, losses, logits, labels)}

    def training_step(self, batch, _):
        found = self.step(batch)
        self.log("loss", found["loss"], on_epoch=True)
        return found

    def validation_step(self, batch, _):
        found = self.step(batch)
        self.log("val_loss", found["loss"])
        return found


def fit(folder, module, callbacks=(), train=None, val=None, epochs=3, ckpt_path=None, library=lightning, **options):
    trainer = library.Trainer(
        max_epochs=epochs,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"enable_checkpointing": False, **options},
    )
    train = DataLoader(tensors("train"), 8, shuffle=True) if train is None else train
    val = DataLoader(tensors("val"), 5) if val is None else val
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, train, val, ckpt_path=ckpt_path)
    return trainer


def with_ids(split: str, **options) -> DataLoader:
    ids = np.sort(TABLE.loc[TABLE["split"] == split, "sample"].to_numpy())
    return DataLoader(WithIds(tensors(split), ids), 8, **options)


@pytest.mark.parametrize("recording", ["eval", "by-product"])
def test_lightning_trains_to_the_same_bits(tmp_path, recording):
    ends = []
    for recorded in (False, True):
        lightning.seed_everything(0, verbose=False)
        callbacks = []
        if recorded:
            callbacks = [lightning_callback.LossprintCallback(tmp_path / "run", TABLE, recording=recording)]
        if recording == "eval":
            module, loaders = Module(), {}
        else:
            module = ByProduct()
            loaders = {"train": with_ids("train", shuffle=True), "val": with_ids("val")}
        trainer = fit(tmp_path, module, callbacks, **loaders)
        ends.append((list(module.state_dict().values()), dict(trainer.callback_metrics), states()))
    (plain, metrics, state), (weights, metrics_too, state_too) = ends
    assert not differ(plain, weights) and len(metrics) == 4 and not differ(metrics, metrics_too)
    assert not differ(state, state_too)
    assert [len(open_run(tmp_path / "run", need="record").recorded(split)) for split in ("train", "val")] == [3, 3]


def test_lightning_records_in_eval_mode_what_a_plain_loop_finds(tmp_path):
    module = Module()
    fit(tmp_path, module, [lightning_callback.LossprintCallback(tmp_path / "run", TABLE)])
    run = open_run(tmp_path / "run", need="record")
    assert run.stages == ["record"] and run.recorded("train") == [1, 2, 3] and module.training
    module.eval()
    for split in ("train", "val"):
        features, labels = tensors(split).tensors
        logits = module(features)
        recorded = run.trajectory(split)
        expected = [F.cross_entropy(*pair).item() for pair in zip(logits.unbind(), labels.unbind())]
        np.testing.assert_allclose(recorded.losses[-1], expected, rtol=1e-5)
        np.testing.assert_array_equal(recorded.predicted[-1], logits.argmax(1))


def test_lightning_records_as_a_by_product_what_the_steps_return(tmp_path):
    module = ByProduct()
    callback = lightning_callback.LossprintCallback(tmp_path / "run", TABLE, recording="by-product")
    assert callback.ids("val").tolist() == sorted(TABLE.loc[TABLE["split"] == "val", "sample"])
    fit(tmp_path, module, [callback], with_ids("train", shuffle=True), with_ids("val"), epochs=2)
    steps = module.handed[2:]  # two batches of the sanity check
    batches = -(-N // 8) + -(-M // 8)
    for split in ("train", "val"):
        recorded = open_run(tmp_path / "run", need="record").trajectory(split)
        for epoch in (0, 1):
            handed = {
                id_: loss for step in steps[epoch * batches : (epoch + 1) * batches] for id_, loss in step.items()
            }
            np.testing.assert_allclose(recorded.losses[epoch], [handed[one] for one in recorded.samples], rtol=1e-6)


def test_lightning_goes_on_from_a_checkpoint(tmp_path):
    """Epochs 3 and 4 are recorded anew by the training that goes on from the weights after epoch 2."""

    def ordered(run: str, epochs: int, ckpt_path=None):
        torch.manual_seed(1)
        module = Module()
        module.network[2].p = 0.0
        saving = lightning.callbacks.ModelCheckpoint(tmp_path / run, "{epoch}", save_top_k=-1)
        callbacks = [lightning_callback.LossprintCallback(tmp_path / f"{run}-run", TABLE), saving]
        loader = DataLoader(tensors("train"), 8)
        fit(tmp_path, module, callbacks, loader, epochs=epochs, ckpt_path=ckpt_path, enable_checkpointing=True)
        return open_run(tmp_path / f"{run}-run", need="record").trajectory("train")

    whole = ordered("whole", 4)
    ordered("cut", 3)
    resumed = ordered("cut", 4, tmp_path / "cut" / "epoch=1.ckpt")
    assert resumed.checkpoints.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    with pytest.raises(LossprintError, match="expected a new folder"):
        ordered("cut", 1)


class Noisy(Dataset):
    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        features, label = self.dataset[index]
        return features + 0.1 * torch.randn(WIDTH), label


def test_lightning_refuses_augmented_samples_and_takes_plain_ones(tmp_path):
    augmented = DataLoader(Noisy(tensors("train")), 8, shuffle=True)
    with pytest.raises(LossprintError, match=r"found random ones .* as train=\.\.\.$"):
        fit(tmp_path, Module(), [lightning_callback.LossprintCallback(tmp_path / "refused", TABLE)], augmented)
    callback = lightning_callback.LossprintCallback(tmp_path / "run", TABLE, train=tensors("train"))
    fit(tmp_path, Module(), [callback], augmented, epochs=1)
    assert np.isfinite(open_run(tmp_path / "run", need="record").trajectory("train").losses).all()


def test_lightning_with_losses_of_ones_own_and_ids_of_ones_own(tmp_path):
    """Items in another order than the table's: their paths say which they are."""
    order = np.random.default_rng(5).permutation(N)
    rows = np.flatnonzero(TABLE["split"] == "train")[order]
    shuffled = torch.utils.data.Subset(tensors("train"), order)
    callback = lightning_callback.LossprintCallback(
        tmp_path / "run",
        TABLE,
        task="regression",
        train=WithIds(shuffled, TABLE["path"][rows]),
        losses=lambda module, batch: -batch[0][:, 0],
    )
    fit(tmp_path, Module(), [callback], epochs=1)
    recorded = open_run(tmp_path / "run", need="record").trajectory("train")
    np.testing.assert_array_equal(recorded.losses[0], -tensors("train").tensors[0][:, 0])


@pytest.mark.parametrize(
    ("options", "loaders", "message"),
    [
        ({}, {"train": DataLoader(TensorDataset(torch.zeros(40, WIDTH)), 8)}, r"a batch \(inputs, targets\).*of 1"),
        ({}, {"train": DataLoader(torch.utils.data.Subset(tensors("train"), range(9)), 3)}, "the 40 train samples.*9"),
        (
            {},
            {"val": [DataLoader(tensors("val")), DataLoader(tensors("val"))]},
            "one DataLoader of val samples, found 2",
        ),
        ({"task": "multi-label"}, {}, "as for task='multi-label'"),
        ({"recording": "by-product"}, {}, "training_step to return 'lossprint'.*epoch 1"),
        ({"recording": "later"}, {}, "'eval' or 'by-product'"),
        ({"classes": ["cat", "bee", "ant"]}, {}, r"the dataset's own labels"),
    ],
)
def test_lightning_says_at_once_what_does_not_fit(tmp_path, options, loaders, message):
    class Whatever(Module):
        def training_step(self, batch, _):
            return self(batch[0]).sum() * 0 + self.network[0].weight.sum()

        def validation_step(self, *_):
            return None

    with pytest.raises(LossprintError, match=message) as caught:
        fit(tmp_path, Whatever(), [lightning_callback.LossprintCallback(tmp_path / "run", TABLE, **options)], **loaders)
    assert "\n" not in str(caught.value)


def test_nothing_is_recorded_of_a_fast_dev_run(tmp_path):
    fit(tmp_path, Module(), [lightning_callback.LossprintCallback(tmp_path / "run", TABLE)], fast_dev_run=True)
    assert not (tmp_path / "run").exists()


def test_undisturbed_puts_modes_and_random_states_back():
    module = Module()
    module.network[2].eval()  # as of a frozen part
    before = states()
    with pytest.raises(ZeroDivisionError), undisturbed(module):
        assert not any(one.training for one in module.modules()) and not torch.is_grad_enabled()
        random.random(), np.random.rand(), torch.rand(1)
        1 / 0  # noqa: B018
    assert not differ(before, states())
    assert [one.training for one in module.network] == [True, True, False, True]


def test_pytorch_lightning_does_as_well(tmp_path):
    library = pytest.importorskip("pytorch_lightning")

    class Plain(library.LightningModule):
        forward, configure_optimizers = Module.forward, Module.configure_optimizers
        training_step, validation_step = Module.training_step, Module.validation_step

        def __init__(self):
            library.LightningModule.__init__(self)
            self.network = Module().network

    callback = lightning_callback.LossprintCallback(tmp_path / "run", TABLE)
    fit(tmp_path, Plain(), [callback], epochs=2, library=library)
    assert open_run(tmp_path / "run", need="record").recorded("train") == [1, 2]


def test_the_benchmark_of_the_overhead_measures_all_kinds():
    overhead = benchmark("overhead")
    found = overhead.measured(overhead.PARTS["plain"](True), 1)
    assert found["without"][1] == 0 and all(
        0 < inside < whole for whole, inside in (found["by-product"], found["eval"])
    )
