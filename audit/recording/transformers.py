"""The recorder as a callback of Hugging Face's Trainer (the package `transformers`).

from lossprint.audit.recording.transformers import LossprintCallback
trainer = Trainer(model, arguments, train_dataset=train, eval_dataset=val)
trainer.add_callback(LossprintCallback("runs/mine", trainer=trainer))
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lossprint.audit.datasets.tasks import ALL, BETWEEN, TASKS
from lossprint.audit.recording import per_sample
from lossprint.audit.recording.plain_pass import TRIED, PlainPass, WithIds, undisturbed
from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.recording.samples import opened
from lossprint.audit.types import LossprintError

try:
    from transformers import TrainerCallback
except ImportError:
    raise LossprintError(
        "expected the package transformers, found none: pip install 'lossprint[transformers]'"
    ) from None

__all__ = ["LossprintCallback", "WithIds"]

KEY = "lossprint"  # of the places of a batch's samples, in by-product mode
NEAR = 0.02  # of the model's own loss: bfloat16 has three digits
COLUMNS = ("label", "labels", "label_ids")  # what Transformers' collators take for labels


class LossprintCallback(TrainerCallback):
    """Records each sample's loss into the run folder `out` while the Trainer trains; then: `lossprint score OUT`.

    The samples are the rows of `train_dataset` and `eval_dataset`, or of `train` and `val`: `datasets.Dataset`s, or
    others with a length. `dataset`, any DATASET or table that `Recorder` takes, says what they are, so that the app can
    show them; its i-th training (validation) sample is the i-th row, unless the rows have a column `sample` of ids or
    paths, or the dataset is `WithIds`. Without it a table is made of the rows: path train/000017, and the labels.

    recording="eval", the default: after each epoch, or every `steps` steps, all samples go through the model in eval
    mode, in order, with the trainer's collator, evaluation batch size and precision. Modes, random states and weights
    stay as they were: the training ends in the same bits as without. recording="by-product": the losses of the training
    batches themselves, and those of the evaluation where `eval_strategy="epoch"` has one (else the validation samples
    go through the model as above). For that the callback, while it lasts, takes the place of the trainer's datasets,
    collator and `compute_loss`, which calls the original.

    What the losses are is found out at the start on one sample, by what equals the model's own loss: of one class
    (logits (B, C)), of several labels, of a quantity, or of a text's tokens, the mean over those that count. Where
    none does, say it: `losses(model, inputs)` returns unreduced losses (B,), or (losses, logits), or (losses, logits,
    labels) as for `Recorder.update`, and `task` what they are of. A text without a token that counts is left out.
    """

    def __init__(
        self,
        out: str | Path,
        dataset=None,
        *,
        trainer,
        recording: str = "eval",
        train=None,
        val=None,
        losses: Callable | None = None,
        steps: int | None = None,
        task: str | None = None,
        label_names: Sequence[str] | None = None,
        **options,
    ):
        if recording not in ("eval", "by-product"):
            raise LossprintError(f"expected recording to be 'eval' or 'by-product', found {recording!r}")
        if losses is not None and task is None:
            raise LossprintError(f"expected with losses a task of {', '.join(TASKS)}, found none")
        if recording == "by-product" and not (steps is train is losses is None):
            raise LossprintError("expected steps, train and losses with recording='eval' only, found by-product")
        self.out, self.recording, self.trainer, self.steps = out, recording, trainer, steps
        self.recorder: Recorder | None = None
        self._dataset, self._losses, self._options = dataset, losses, options
        self._task, self._names = task, label_names
        self._rows = {
            split: _rows(split, own if own is not None else trainers)
            for split, own, trainers in (("train", train, trainer.train_dataset), ("val", val, trainer.eval_dataset))
        }
        self._collator = trainer.data_collator
        self._form: Form | None = None
        self._columns: np.ndarray | None = None  # of the logits, where some classes have no samples
        self._ids: dict[str, Sequence] = {}
        self._due: int | None = None  # the checkpoint that ends after the evaluation that is to come
        self._left_out: set[int] = set()
        self._evaluated = val is None and recording == "by-product"
        self._replaced: dict = {}
        if recording == "by-product":
            self._replace()

    # The trainer's hooks --------------------------------------------------------------------------------------

    def on_train_begin(self, args, state, control, **_) -> None:
        model = self.trainer.model
        goes_on = state.global_step > 0
        done = state.global_step // self.steps if self.steps else math.floor((state.epoch or 0) + 1e-6)
        with undisturbed(model):  # what does not fit is said before an epoch is spent
            if self.recorder is None:
                self._start(model, resume=goes_on)
            for split in ("val",) if self.recording == "by-product" else ("train", "val"):
                one = self._pass(split)
                one.refuse_random(self.recorder.labels(one.ids))
                self._take(model, *one.first())
        self.recorder.rewind(done)

    def on_step_end(self, args, state, control, **_) -> None:
        if self.recorder is not None and self.steps and state.global_step % self.steps == 0:
            self._record(state.global_step // self.steps, ("train", "val"))

    def on_epoch_end(self, args, state, control, **_) -> None:
        if self.recorder is None or self.steps:
            return
        epoch = math.ceil(state.epoch - 1e-6)
        if self.recording == "eval":
            self._record(epoch, ("train", "val"))
        elif self._evaluated and control.should_evaluate:
            self._due = epoch
        else:
            self._record(epoch, ("val",))

    def on_evaluate(self, args, state, control, **_) -> None:
        if self.recorder is not None and self._due is not None:
            self.recorder.end_checkpoint(self._due)
            self._due = None

    def on_train_end(self, args, state, control, **_) -> None:
        if self.recorder is None:
            return
        if self._left_out:
            warnings.warn(
                f"{len(self._left_out):,} texts were left out, as no token of theirs counts: sample "
                f"{min(self._left_out)} for one",
                stacklevel=2,
            )
        self.recorder.finish()
        self.recorder = None
        for name, value in self._replaced.items():
            setattr(self.trainer, name, value)
        self.trainer.__dict__.pop("compute_loss", None)

    # Recording ------------------------------------------------------------------------------------------------

    def _start(self, model, resume: bool) -> None:
        if self._losses is None:
            self._form = self._detected(model)
        task, names = self._task or self._form.task, self._names
        width = self._form.width if self._form else getattr(model.config, "num_labels", 1)
        if task in ("classes", "multi-label") and names is None:
            names = class_names(model, self._rows["train"], width)
        dataset, options = self._dataset, dict(self._options)
        if dataset is None:
            dataset = table(self._rows, task, names)
        dataset = opened(dataset, options.get("seed", 0), task)
        if task == "classes" and "classes" not in options:
            there = set(dataset["label"]) if isinstance(dataset, pd.DataFrame) else set(dataset.classes)
            if there <= set(names):  # else the recorder takes them as sorted, and finds out from the labels
                self._columns = np.array([at for at, name in enumerate(names) if name in there])
                options["classes"] = [names[at] for at in self._columns]
        if task == "multi-label":
            options["label_names"] = names
        self.recorder = Recorder(self.out, dataset, recording=self.recording, task=task, resume=resume, **options)
        for split, rows in self._rows.items():
            own = rows.ids if isinstance(rows, WithIds) else None
            if own is None and self._dataset is not None and "sample" in (getattr(rows, "column_names", None) or ()):
                own = np.asarray(rows["sample"])
            self._ids[split] = self.recorder.ids(split) if own is None else own
            self._pass(split)  # their numbers fit

    def _detected(self, model) -> "Form":
        of = self._pass("train", numbered=False)
        for row in range(min(len(of.dataset), TRIED)):
            inputs = self.trainer._prepare_inputs(of.collate([of.dataset[row]]))
            with self.trainer.compute_loss_context_manager():
                form = detect(model(**inputs), self._labels(inputs), self._task)
            if form is not None:
                return form
        raise LossprintError(
            f"expected training samples whose loss is a number, found none among the first {TRIED}: no token counts"
        )

    def _labels(self, inputs):
        names = self.trainer.label_names
        return inputs.get(names[0]) if len(names) == 1 else None

    def _pass(self, split: str, numbered: bool = True) -> PlainPass:
        """A pass over the rows as the trainer's own evaluation would make it."""
        rows, trainer, collate = self._rows[split], self.trainer, self._collator
        ids = self._ids[split] if numbered else range(len(rows))
        if isinstance(rows, WithIds):
            rows = rows.dataset
        if hasattr(rows, "remove_columns"):
            rows = trainer._remove_unused_columns(rows)
        else:
            collate = trainer._get_collator_with_removed_columns(collate)
        args = trainer.args
        workers, share = args.dataloader_num_workers, (args.process_index, args.world_size)
        return PlainPass(split, rows, ids, args.eval_batch_size, collate, workers, *share)

    def _record(self, checkpoint: int, splits: tuple[str, ...]) -> None:
        model = self.trainer.model
        with undisturbed(model):
            for split in splits:
                for ids, batch in self._pass(split).batches():
                    self._take(model, ids, batch)
        self.recorder.end_checkpoint(checkpoint)

    def _take(self, model, ids, batch) -> None:
        inputs = self.trainer._prepare_inputs(batch)
        with self.trainer.compute_loss_context_manager():
            if self._losses is not None:
                found = self._losses(model, inputs)
                self._update(ids, *(found if isinstance(found, tuple | list) else (found,)))
            else:
                labels = self._labels(inputs)
                self._update(ids, *self._form(model(**inputs)["logits"], labels))

    def _update(self, ids, losses, logits=None, labels=None) -> None:
        ids = np.asarray(ids)
        if self.recorder.task == "text":
            counts = ~torch.isnan(losses)
            if not bool(counts.all()):
                kept = counts.cpu().numpy()
                self._left_out |= set(ids[~kept].tolist())
                ids, losses = ids[kept], losses[counts]
        if self._columns is not None and logits is not None and len(self._columns) < logits.shape[1]:
            at = torch.as_tensor(self._columns, device=logits.device)
            logits = logits[:, at]
            labels = None if labels is None else torch.searchsorted(at, labels.contiguous())
        self.recorder.update(ids, losses, logits, labels)

    # By-product -----------------------------------------------------------------------------------------------

    def _by_product(self, split: str, places: list[int], outputs, labels) -> None:
        with torch.no_grad():
            self._update(self._ids[split][places], *self._form(outputs["logits"].detach(), labels))

    def _replace(self) -> None:
        """Number the rows of the trainer's datasets, keep the numbers out of its collator's way and of the model's."""
        trainer, collator, original = self.trainer, self._collator, self.trainer.compute_loss
        names = ["train_dataset", "data_collator", *(["eval_dataset"] if self._evaluated else [])]
        self._replaced = {name: getattr(trainer, name) for name in names}
        trainer._set_signature_columns_if_needed()
        trainer._signature_columns.append(KEY)  # else the column would be taken for an unused one

        def collate(items):
            places = [item.pop(KEY) for item in items if KEY in item]
            batch = collator(items)
            if places:
                batch[KEY] = places
            return batch

        def compute_loss(model, inputs, return_outputs=False, **more):
            places = inputs.pop(KEY, None)
            if places is None or self.recorder is None:
                return original(model, inputs, return_outputs=return_outputs, **more)
            labels = self._labels(inputs)
            loss, outputs = original(model, inputs, return_outputs=True, **more)
            self._by_product("train" if model.training else "val", places, outputs, labels)
            return (loss, outputs) if return_outputs else loss

        trainer.data_collator, trainer.compute_loss = collate, compute_loss
        for split, name in (("train", "train_dataset"), ("val", "eval_dataset")):
            if name in self._replaced:
                rows = self._rows[split]
                if hasattr(rows, "remove_columns"):
                    rows = trainer._remove_unused_columns(rows)
                setattr(trainer, name, _Numbered(rows))


class _Numbered(torch.utils.data.Dataset):
    """Items as they are, dictionaries, with their place in the dataset."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> dict:
        return {**self.dataset[place], KEY: place}

    def __getitems__(self, places: list[int]) -> list[dict]:
        many = getattr(self.dataset, "__getitems__", None)
        items = many(places) if many else [self.dataset[place] for place in places]
        return [{**item, KEY: place} for item, place in zip(items, places)]


def _rows(split: str, rows):
    """The one dataset of a split."""
    if rows is None or isinstance(rows, dict) or not hasattr(rows, "__len__"):
        found = "none" if rows is None else type(rows).__name__
        raise LossprintError(
            f"expected one dataset of {split} rows with a length, found {found}: hand it over, {split}="
        )
    return rows


# --------------------------------------------------------------------------- what the losses are


@dataclass(frozen=True)
class Form:
    """task, see `tasks`; shift, of text: whether logits are for the next token; width: logits of a sample or token."""

    task: str
    shift: bool = False
    width: int = 1

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple:
        """(losses, logits, labels) for `Recorder.update`, unreduced."""
        if self.task == "text":
            return per_sample.token_losses(logits, labels, shift=self.shift), None, None
        return per_sample.of_task(self.task, logits, labels)


def detect(outputs, labels: torch.Tensor | None, asked: str | None) -> Form | None:
    """The form of the losses, from a batch of one sample; None where its own loss is undefined (no token counts).

    `asked` is the task where it is known. Raises LossprintError where no form gives the model's own loss.
    """
    loss, logits = (outputs.get(name) if hasattr(outputs, "get") else None for name in ("loss", "logits"))
    say = "say what the losses are, LossprintCallback(losses=..., task=...)"
    if not (torch.is_tensor(loss) and torch.is_tensor(logits) and torch.is_tensor(labels)):
        found = ", ".join(outputs) if hasattr(outputs, "keys") else type(outputs).__name__
        raise LossprintError(f"expected labels and a model that returns loss and logits, found {found}: {say}")
    if not torch.isfinite(loss):
        return None
    forms = [form for form in _possible(logits, labels) if asked in (None, form.task)]
    apart = [abs(_mean(form, logits, labels) - float(loss)) for form in forms]
    if not forms or min(apart) > NEAR * max(abs(float(loss)), 1e-3):
        raise LossprintError(
            f"expected losses{'' if asked is None else ' as for task=' + repr(asked)} that equal the model's own, "
            f"{float(loss):.4g}, found none, from logits {tuple(logits.shape)} and labels {tuple(labels.shape)}: {say}"
        )
    return forms[apart.index(min(apart))]


def _possible(logits: torch.Tensor, labels: torch.Tensor) -> list[Form]:
    """The forms that the shapes allow."""
    width = logits.shape[-1] if logits.ndim > 1 else 1
    whole = not labels.is_floating_point()
    if logits.ndim == 3 and labels.shape == logits.shape[:2] and whole:
        return [Form("text", True, width), Form("text", False, width)]
    if logits.ndim == 2 and labels.shape == logits.shape[:1] and whole and width > 1:
        return [Form("classes", width=width)]
    forms = []
    if logits.ndim == 2 and labels.shape == logits.shape and width > 1 and bool(((labels == 0) | (labels == 1)).all()):
        forms.append(Form("multi-label", width=width))
    if labels.numel() == logits.numel():
        forms.append(Form("regression", width=width))
    return forms


def _mean(form: Form, logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The loss of one sample as the models' own losses have it: of several labels the mean, not the sum."""
    return float(form(logits, labels)[0].mean())


# --------------------------------------------------------------------------- what the rows are


def table(rows: dict[str, object], task: str, names: Sequence[str] | None) -> pd.DataFrame:
    """Columns sample, path, label, split: the training rows from 0, then the validation rows.

    Labels are the names of the class or of the set of labels; a quantity as it is; of texts there are none.
    """
    parts = []
    for split, of in rows.items():
        labels = [ALL] * len(of) if task == "text" else _labels(of, split)
        if task in ("classes", "multi-label"):
            labels = [_named(one, task, names, split) for one in labels]
        paths = [f"{split}/{row:06d}" for row in range(len(of))]
        parts.append(pd.DataFrame({"path": paths, "label": labels, "split": split}))
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(sample=np.arange(len(whole)))


def class_names(model, rows, width: int) -> list[str]:
    """The names of a model's `width` classes or labels: the dataset's own, or else those of its configuration."""
    features = getattr(rows, "features", None) or {}
    for column in COLUMNS:
        feature = features.get(column)
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if names and len(names) == width:
            return list(names)
    known = getattr(model.config, "id2label", None) or {}
    return [str(known.get(at, f"LABEL_{at}")) for at in range(width)]


def _labels(rows, split: str) -> list:
    names = getattr(rows, "column_names", None)
    if names is None:  # a dataset of another library: each item is read once
        first = rows[0]
        column = next((one for one in COLUMNS if isinstance(first, dict) and one in first), None)
        found = None if column is None else [rows[row][column] for row in range(len(rows))]
    else:
        column = next((one for one in COLUMNS if one in names), None)
        found = None if column is None else list(rows[column])
    if found is None:
        raise LossprintError(
            f"expected a column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]} in the {split} rows, found none: "
            "name a DATASET or hand over a table of the samples"
        )
    return [one.tolist() if hasattr(one, "tolist") else one for one in found]


def _named(label, task: str, names: Sequence[str], split: str) -> str:
    try:
        if task == "classes":
            return names[label if label >= 0 else len(names)]
        if len(label) != len(names) or not set(label) <= {0, 1}:
            raise ValueError
        return BETWEEN.join(name for name, there in zip(names, label) if there)
    except (IndexError, TypeError, ValueError):
        what = "the index of a class" if task == "classes" else f"0 or 1 for each of {len(names)} labels"
        raise LossprintError(f"expected {what} as a label of the {split} rows, found {label!r}") from None
