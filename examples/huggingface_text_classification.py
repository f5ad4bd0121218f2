"""The recorder in Hugging Face's Trainer, classification of texts: one callback.

    from lossprint.audit.recording.transformers import LossprintCallback
    trainer = Trainer(model, arguments, train_dataset=train, eval_dataset=val)
    trainer.add_callback(LossprintCallback("runs/mine", trainer=trainer))

    python examples/huggingface_text_classification.py --out runs/texts [--epochs 6] [--by-product]

The texts are made up here, with 5 % wrong labels, and written as a DATASET (OUT-data/texts.csv), so that the app shows
them. The model is a small BERT that is not pretrained: nothing is downloaded.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import ClassLabel, Dataset
from suspects import print_suspects
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from lossprint.audit.recording.transformers import LossprintCallback

TOPICS = {
    "cooking": "onion butter oven flour salt simmer plate taste recipe garlic",
    "sailing": "harbour mast wind anchor deck rope tide sail compass wave",
    "astronomy": "star orbit telescope planet comet galaxy moon eclipse dust light",
}
FILLER = "the a of and with near we then some after it was on for"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--by-product", action="store_true")
    options = parser.parse_args()
    set_seed(0)

    table, planted = made_up_texts(np.random.default_rng(0))
    file = Path(f"{options.out}-data") / "texts.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False)
    tokenizer = word_tokenizer(table["text"])
    train, val = (tokenized(table[table["split"] == split], tokenizer) for split in ("train", "val"))
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, num_labels=len(TOPICS), **size)
    trainer = Trainer(
        BertForSequenceClassification(config),
        TrainingArguments(
            output_dir=f"{options.out}-data/trainer",
            num_train_epochs=options.epochs,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=128,
            learning_rate=2e-3,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=train,
        eval_dataset=val,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    recording = "by-product" if options.by_product else "eval"
    trainer.add_callback(LossprintCallback(options.out, file, trainer=trainer, recording=recording))
    trainer.train()
    print_suspects(options.out, planted)


def made_up_texts(random: np.random.Generator, train: int = 600, val: int = 90) -> tuple[pd.DataFrame, set[str]]:
    """Columns text, label, split, id; and the ids of the training texts with a wrong label."""
    names, rows = list(TOPICS), []
    for number in range(train + val):
        topic = names[number % len(names)]
        words = np.concatenate([random.choice(TOPICS[topic].split(), 4), random.choice(FILLER.split(), 6)])
        rows.append((" ".join(random.permutation(words)), topic, "train" if number < train else "val"))
    table = pd.DataFrame(rows, columns=["text", "label", "split"])
    table["id"] = [f"text-{number:04d}" for number in range(len(table))]
    wrong = random.choice(train, train // 20, replace=False)
    table.loc[wrong, "label"] = [names[(names.index(one) + 1) % len(names)] for one in table.loc[wrong, "label"]]
    return table, set(table.loc[wrong, "id"])


def word_tokenizer(texts) -> PreTrainedTokenizerFast:
    """A word is a token."""
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def tokenized(rows: pd.DataFrame, tokenizer) -> Dataset:
    dataset = Dataset.from_pandas(rows[["text", "label"]], preserve_index=False)
    dataset = dataset.cast_column("label", ClassLabel(names=list(TOPICS)))
    return dataset.map(lambda batch: tokenizer(batch["text"]), batched=True)


if __name__ == "__main__":
    main()
