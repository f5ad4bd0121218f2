"""The recorder in Hugging Face's Trainer: it records what a plain loop finds, the training ends in the same bits."""

import copy

import numpy as np
import pytest
import torch
from callback_data import NAMES, TABLE, M, N, states
from torch.nn import functional as F

from lossprint.audit import LossprintError, open_run
from lossprint.audit.recording.plain_pass import differ

transformers = pytest.importorskip("transformers")

from lossprint.audit.recording import transformers as transformers_callback  # noqa: E402

VOCABULARY = 20
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def bert(kind: str = "SequenceClassification", **config):
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **SIZE, **config)
    return getattr(transformers, f"BertFor{kind}")(config)


def gpt2():
    torch.manual_seed(0)
    config = {"n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": None, "eos_token_id": None}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=VOCABULARY, **config))


def tokens(count: int, seed: int, labels) -> dict:
    """Texts of six to ten tokens; `labels(ids, number)` gives the label of one."""
    generator = np.random.default_rng(seed)
    ids = [generator.integers(2, VOCABULARY, generator.integers(6, 11)).tolist() for _ in range(count)]
    return {"input_ids": ids, "labels": [labels(one, number) for number, one in enumerate(ids)]}


def rows(labels, names=None):
    import datasets

    made = [datasets.Dataset.from_dict(tokens(count, seed, labels)) for count, seed in ((N, 1), (M, 2))]
    if names:
        made = [one.cast_column("labels", datasets.ClassLabel(names=names)) for one in made]
    return made


def collate(items):
    """Pads with 0, labels that are lists with -100."""
    batch = {"input_ids": [one["input_ids"] for one in items]}
    longest = max(map(len, batch["input_ids"]))
    batch["attention_mask"] = [[1] * len(one) + [0] * (longest - len(one)) for one in batch["input_ids"]]
    batch["input_ids"] = [one + [0] * (longest - len(one)) for one in batch["input_ids"]]
    labels = [one["labels"] for one in items]
    if isinstance(labels[0], list) and isinstance(labels[0][0], int):
        labels = [one + [-100] * (longest - len(one)) for one in labels]
    return {name: torch.tensor(values) for name, values in (batch | {"labels": labels}).items()}


def trainer_of(folder, model, data, epochs=2, **options):
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=epochs,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=16,
        learning_rate=1e-2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        logging_strategy="no",
        **{"save_strategy": "no", **options},
    )
    return transformers.Trainer(model, arguments, collate, train_dataset=data[0], eval_dataset=data[1])


def record(folder, model, data, epochs=2, resume=None, options=None, **arguments):
    trainer = trainer_of(folder, model, data, epochs, **arguments)
    callback = transformers_callback.LossprintCallback(folder / "run", trainer=trainer, **(options or {}))
    trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=resume)
    return open_run(folder / "run", need="record"), trainer


def plain_losses(model, data, split: int, loss) -> list[float]:
    """One sample at a time, in eval mode, by the final weights."""
    model.eval()
    with torch.no_grad():
        return [loss(model, collate([data[split][row]])) for row in range(len(data[split]))]


@pytest.mark.parametrize(
    ("recording", "arguments"),
    [
        ("eval", {"eval_strategy": "epoch"}),
        ("by-product", {"eval_strategy": "epoch"}),
        ("by-product", {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1}),
    ],
)
def test_transformers_trains_to_the_same_bits(tmp_path, recording, arguments):
    data, ends = rows(lambda ids, number: number % 3, NAMES), []
    for recorded in (False, True):
        model = bert(num_labels=3)
        if recorded:
            run, trainer = record(tmp_path, model, data, options={"recording": recording}, **arguments)
            assert trainer.train_dataset is data[0] and trainer.data_collator is collate
        else:
            trainer_of(tmp_path, model, data, **arguments).train()
        ends.append((list(model.state_dict().values()), states()))
    assert not differ(*ends)
    assert run.classes == NAMES and run.recorded("train") == [1, 2]
    for at, split in enumerate(("train", "val")):
        of_split = run.samples().query("split == @split")
        assert of_split["path"].iloc[1] == f"{split}/000001" and of_split["label"].iloc[1] == "bee"
        if split == "val" or recording == "eval":
            plain = plain_losses(model, data, at, lambda model, batch: model(**batch).loss.item())
            np.testing.assert_allclose(run.trajectory(split).losses[-1], plain, rtol=1e-4)
            assert run.trajectory(split).margins is not None


def test_transformers_by_product_is_of_the_training_batches(tmp_path):
    """Without dropout and with a rate of 0 the losses in training are those of the weights at the start."""
    data = rows(lambda ids, number: number % 3, NAMES)
    model = bert(num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    start = copy.deepcopy(model)
    trainer = trainer_of(tmp_path, model, data)
    trainer.args.learning_rate = 0.0
    trainer.add_callback(
        transformers_callback.LossprintCallback(tmp_path / "run", trainer=trainer, recording="by-product")
    )
    trainer.train()
    plain = plain_losses(start, data, 0, lambda model, batch: model(**batch).loss.item())
    for losses in open_run(tmp_path / "run", need="record").trajectory("train").losses:
        np.testing.assert_allclose(losses, plain, rtol=1e-4)


def test_a_language_model_by_the_mean_of_its_counted_tokens(tmp_path):
    """The first half of each text is a prompt; one text is nothing but that, and left out."""

    def labels(ids, number):
        half = len(ids) if number == 7 else len(ids) // 2
        return [-100] * half + ids[half:]

    data, model = rows(labels), gpt2()
    with pytest.warns(UserWarning, match="2 texts were left out.*sample 7"):
        run, _ = record(tmp_path, model, data)
    assert run.task == "text" and run.classes == ["all"]

    def by_hand(model, batch):
        logits, labels = model(input_ids=batch["input_ids"]).logits[0], batch["labels"][0]
        losses = [F.cross_entropy(logits[t], labels[t + 1]) for t in range(len(labels) - 1) if labels[t + 1] >= 0]
        return torch.stack(losses).mean().item() if losses else np.nan

    for at, split in enumerate(("train", "val")):
        found = run.trajectory(split).losses[-1]
        np.testing.assert_allclose(found, plain_losses(model, data, at, by_hand), rtol=1e-4)
        assert np.flatnonzero(np.isnan(found)).tolist() == [7]


@pytest.mark.parametrize(
    ("model", "labels", "task", "loss"),
    [
        (lambda: bert(num_labels=1), lambda ids, number: float(number) / 10, "regression", lambda own: own),
        (
            lambda: bert(num_labels=3, problem_type="multi_label_classification"),
            lambda ids, number: [float(number % 2), float(number % 3 == 0), 1.0 - number % 2],
            "multi-label",
            lambda own: 3 * own,  # the sum, where the model has the mean
        ),
        (
            lambda: bert("TokenClassification", num_labels=4),
            lambda ids, _: [one % 4 for one in ids],
            "text",
            lambda own: own,
        ),
    ],
    ids=["regression", "multi-label", "tokens"],
)
def test_what_the_losses_are_of_is_found_out(tmp_path, model, labels, task, loss):
    data, model = rows(labels), model()
    run, _ = record(tmp_path, model, data, epochs=1)
    assert run.task == task
    plain = plain_losses(model, data, 0, lambda model, batch: loss(model(**batch).loss.item()))
    np.testing.assert_allclose(run.trajectory("train").losses[-1], plain, rtol=1e-4, atol=1e-6)
    if task == "multi-label":
        assert run.samples()["label"].iloc[0] == "LABEL_1|LABEL_2" and len(run.members("label")) == 3


def test_transformers_goes_on_from_a_checkpoint(tmp_path):
    data, folders = rows(lambda ids, number: number % 3, NAMES), (tmp_path / "whole", tmp_path / "cut")
    whole, _ = record(folders[0], bert(num_labels=3), data, epochs=3, save_strategy="epoch")
    trainer = trainer_of(folders[1], bert(num_labels=3), data, 3, save_strategy="epoch")

    class Cut(transformers.TrainerCallback):
        def on_epoch_end(self, args, state, control, **_):
            if state.epoch == 2:
                raise InterruptedError

    for callback in (transformers_callback.LossprintCallback(folders[1] / "run", trainer=trainer), Cut()):
        trainer.add_callback(callback)
    with pytest.raises(InterruptedError):
        trainer.train()
    assert open_run(folders[1] / "run", need=None).recorded("train") == [1, 2]
    (saved,) = (folders[1] / "trainer").glob("checkpoint-*")
    run, _ = record(folders[1], bert(num_labels=3), data, 3, str(saved), save_strategy="epoch")
    np.testing.assert_array_equal(run.trajectory("train").losses, whole.trajectory("train").losses)


def test_transformers_records_every_few_steps_a_dataset_that_has_a_name(tmp_path):
    """A label in another order than by name, one that no sample has, and rows that say which sample they are."""
    names, order = ["cat", "none", "ant", "bee"], np.random.default_rng(4).permutation(N)
    data = rows(lambda ids, number: [0, 2, 3][number % 3], names)
    labels = [names[one] for part in data for one in part["labels"]]
    table = TABLE.assign(label=labels, split=["train"] * N + ["val"] * M)
    shuffled = [data[0].select(order).add_column("sample", table["sample"].to_numpy()[:N][order]), data[1]]
    model = bert(num_labels=4)
    options = {"dataset": table, "steps": 3}
    run, _ = record(tmp_path, model, shuffled, options=options, max_steps=9, remove_unused_columns=True)
    assert run.recorded("train") == [1, 2, 3]
    plain = plain_losses(model, data, 0, lambda model, batch: model(**batch).loss.item())
    recorded = run.trajectory("train")
    np.testing.assert_allclose(recorded.losses[-1], plain, rtol=1e-4)
    model.eval()
    best = [model(**collate([data[0][row]])).logits[0, [2, 3, 0]].argmax().item() for row in range(N)]
    assert recorded.predicted[-1].tolist() == best  # ant, bee, cat


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"dataset": TABLE.iloc[:-1]}, None, "samples of the DATASET, found"),
        ({"task": "regression"}, None, "as for task='regression'"),
        ({"losses": lambda model, inputs: None}, None, "with losses a task"),
        ({"recording": "by-product", "steps": 2}, None, "found by-product"),
        ({}, "no evaluation", "one dataset of val rows with a length, found none"),
        ({}, "masks", "found random ones"),
        ({}, "no labels", "expected labels and a model"),
    ],
)
def test_transformers_says_at_once_what_does_not_fit(tmp_path, options, change, message):
    data = rows(lambda ids, number: number % 3, NAMES)
    if change == "no evaluation":
        data[1] = None
    trainer = trainer_of(tmp_path, bert(num_labels=3), data)
    if change == "masks":
        trainer.data_collator = lambda items: collate(items) | {"input_ids": torch.randint(2, 20, (len(items), 8))}
    if change == "no labels":
        trainer.data_collator = lambda items: {"input_ids": collate(items)["input_ids"]}
    with pytest.raises(LossprintError, match=message) as caught:
        trainer.add_callback(transformers_callback.LossprintCallback(tmp_path / "run", trainer=trainer, **options))
        trainer.train()
    assert "\n" not in str(caught.value)
