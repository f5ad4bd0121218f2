"""The recorder as a callback of Lightning's Trainer (the package `lightning`, or `pytorch_lightning`).

from lossprint.audit.recording.lightning import LossprintCallback
trainer = Trainer(callbacks=[LossprintCallback("runs/mine", "data/labels.csv")])
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from lossprint.audit.recording.per_sample import of_task
from lossprint.audit.recording.plain_pass import PlainPass, WithIds, plain_pass, undisturbed
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.recording.samples import described, opened
from lossprint.audit.types import LossprintError

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        raise LossprintError("expected the package lightning, found none: pip install 'lossprint[lightning]'") from None

__all__ = ["LossprintCallback", "WithIds"]

KEY = "lossprint"  # of what training_step and validation_step return


class LossprintCallback(Callback):
    """Records each sample's loss into the run folder `out` while Lightning trains; then: `lossprint score OUT`.

    `dataset` is any DATASET or table that `Recorder` takes; further options (task, label_names, classes, seed) are
    `Recorder`'s. The checkpoint of the first epoch is 1; a training that goes on (`ckpt_path`) goes on with the run.

    recording="eval", the default: after each training epoch all training and validation samples go through the network
    in eval mode, in order and without augmentation, on the device and in the precision of the trainer. Modes, random
    states, weights and logged values stay as they were: the training ends in the same bits as without. The samples
    come from the datasets of the trainer's own loaders, the i-th item being the DATASET's i-th training (validation)
    sample. Hand over others, datasets or DataLoaders, as `train` and `val`: you must where the training samples are
    augmented at random, else this is refused at the start; where an item has another place, `WithIds(dataset, ids)`
    says which sample it is. What a batch's losses are, `losses(module, batch)` says: it returns unreduced losses (B,),
    or (losses, logits), or (losses, logits, labels) as for `Recorder.update`. By default a batch is (inputs, targets)
    and the outputs of `module(inputs)` are taken as those of the task, see `per_sample.of_task`.

    recording="by-product": the losses of the training batches themselves, which cost nothing but are another quantity.
    `training_step` returns {"loss": ..., "lossprint": (ids, losses[, logits[, labels]])}, and `validation_step` the
    same, with or without a loss. Wrap your datasets so that batches are (ids, batch) and the ids are right:
    `WithIds(train_set, callback.ids("train"))`, and the same with val.
    """

    def __init__(
        self,
        out: str | Path,
        dataset,
        *,
        recording: str = "eval",
        train=None,
        val=None,
        losses: Callable | None = None,
        task: str = "classes",
        seed: int = 0,
        **options,
    ):
        super().__init__()
        if recording == "by-product" and not (train is val is losses is None):
            raise LossprintError(
                "expected train, val and losses with recording='eval' only, found them with by-product"
            )
        self.out, self.recording, self.recorder = out, recording, None
        self._dataset, self._losses = dataset, losses
        self._sources = {"train": train, "val": val}
        self._options = {"task": task, "seed": seed, **options}
        self._passes: list[PlainPass] = []
        self._taken: set[str] = set()

    def ids(self, split: str) -> Sequence[int]:
        """The sample ids of a split, ascending: before, in and after a training."""
        options = self._options["seed"], self._options["task"]
        self._dataset = opened(self._dataset, *options)
        samples = described(self._dataset, *options)[0]
        return samples.loc[samples["split"] == split, "sample"].sort_values().to_numpy()

    # Lightning's hooks ----------------------------------------------------------------------------------------

    def on_train_start(self, trainer, pl_module) -> None:
        if trainer.fast_dev_run:
            warnings.warn("nothing is recorded of a fast_dev_run", stacklevel=2)
            return
        done = trainer.current_epoch
        goes_on = done > 0 or trainer.global_step > 0
        self.recorder = Recorder(self.out, self._dataset, recording=self.recording, resume=goes_on, **self._options)
        if goes_on:
            self.recorder.rewind(done)
        if self.recording == "by-product":
            return
        loaders = {"train": trainer.train_dataloader, "val": trainer.val_dataloaders}
        self._passes = [
            plain_pass(
                split,
                _single(split, loaders[split]) if own is None else own,
                self.recorder.ids(split),
                trainer.global_rank,
                trainer.world_size,
            )
            for split, own in self._sources.items()
        ]
        with _as_if_validating(trainer, pl_module):  # what does not fit is said before an epoch is spent
            for one in self._passes:
                one.refuse_random(self.recorder.labels(one.ids))
                self._take(trainer, pl_module, *one.first())
        self.recorder.rewind(done)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._by_product("train", outputs)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if not trainer.sanity_checking:
            self._by_product("val", outputs)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if self.recorder is None:
            return
        epoch = trainer.current_epoch + 1
        if self.recording == "by-product":
            for split, step in (("train", "training_step"), ("val", "validation_step")):
                if split not in self._taken:
                    raise LossprintError(
                        f"expected {step} to return {KEY!r}: (ids, losses) in each epoch, found none in epoch {epoch}"
                    )
            self._taken.clear()
        else:
            with _as_if_validating(trainer, pl_module):
                for one in self._passes:
                    for ids, batch in one.batches():
                        self._take(trainer, pl_module, ids, batch)
        self.recorder.end_checkpoint(epoch)

    def on_train_end(self, trainer, pl_module) -> None:
        if self.recorder is not None:
            self.recorder.finish()
            self.recorder, self._passes = None, []

    # --------------------------------------------------------------------------------------------------------------

    def _by_product(self, split: str, outputs) -> None:
        if self.recorder is None or self.recording != "by-product" or not isinstance(outputs, dict):
            return
        handed = outputs.get(KEY)
        if handed is None:
            return
        if not isinstance(handed, tuple | list) or not 2 <= len(handed) <= 4:
            raise LossprintError(f"expected {KEY!r}: (ids, losses[, logits[, labels]]), found {type(handed).__name__}")
        self.recorder.update(*handed)
        self._taken.add(split)

    def _take(self, trainer, module, ids, batch) -> None:
        batch = trainer.precision_plugin.convert_input(batch)
        batch = trainer.strategy.batch_to_device(module._on_before_batch_transfer(batch))
        with trainer.precision_plugin.forward_context():
            found = self._default(module, batch) if self._losses is None else self._losses(module, batch)
        self.recorder.update(ids, *(found if isinstance(found, tuple | list) else (found,)))

    def _default(self, module, batch) -> tuple:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise LossprintError(
                f"expected a batch (inputs, targets), found {type(batch).__name__}"
                + (f" of {len(batch)}" if isinstance(batch, tuple | list | dict) else "")
                + ": say what its losses are, LossprintCallback(losses=...)"
            )
        outputs = module(batch[0])
        try:
            return of_task(self._options["task"], outputs, batch[1])
        except (AttributeError, TypeError, ValueError) as error:
            raise LossprintError(
                f"expected outputs of the network as for task={self._options['task']!r}, found: {error}; say what the "
                "losses are, LossprintCallback(losses=...)"
            ) from None


@contextmanager
def _as_if_validating(trainer, module):
    """Hooks that augment only while `trainer.training` see a validation; the rest is `undisturbed`."""
    stage = trainer.state.stage
    trainer.validating = True
    try:
        with undisturbed(module):
            yield
    finally:
        trainer.state.stage = stage


def _single(split: str, loaders):
    """The trainer's only loader of a split."""
    flat = list(loaders) if isinstance(loaders, list | tuple) else [loaders]
    if len(flat) != 1 or not isinstance(flat[0], torch.utils.data.DataLoader):
        raise LossprintError(
            f"expected one DataLoader of {split} samples, found {len(flat) if loaders is not None else 'none'}"
            f"{'' if len(flat) != 1 or loaders is None else ' ' + type(flat[0]).__name__}: hand it over, {split}=..."
        )
    return flat[0]
