"""The recorder in Hugging Face's Trainer, instruction tuning of a language model: one callback.

    from lossprint.audit.recording.transformers import LossprintCallback
    trainer = Trainer(model, arguments, train_dataset=train, eval_dataset=val, data_collator=collator)
    trainer.add_callback(LossprintCallback("runs/mine", "data/instructions.jsonl", trainer=trainer))

    python examples/huggingface_language_model.py --out runs/instructions [--epochs 6] [--by-product]

The loss of a sample is the mean over the tokens of its response: those of the prompt and the padding, labelled -100, do
not count. The instructions are made up here, with 5 % wrong responses, and written as a DATASET
(OUT-data/instructions.jsonl). The model is a small GPT-2 that is not pretrained: nothing is downloaded.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset
from huggingface_text_classification import word_tokenizer
from suspects import print_suspects
from transformers import DataCollatorForSeq2Seq, GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from lossprint.audit.recording.transformers import LossprintCallback

WORDS = "hot cold big small light dark old new open closed early late high low wet dry near far full empty"
PROMPTS = ("what is the opposite of {}", "name the opposite of {} please", "{} : its opposite")
RESPONSE = "it is {} <end>"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--by-product", action="store_true")
    options = parser.parse_args()
    set_seed(0)

    table, planted = made_up_instructions(np.random.default_rng(0))
    file = Path(f"{options.out}-data") / "instructions.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_json(file, orient="records", lines=True)
    tokenizer = word_tokenizer(table["prompt"] + " " + table["response"])
    train, val = (tokenized(table[table["split"] == split], tokenizer) for split in ("train", "val"))
    size = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.1}
    dropout = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    config = GPT2Config(vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=None, **size, **dropout)
    trainer = Trainer(
        GPT2LMHeadModel(config),
        TrainingArguments(
            output_dir=f"{options.out}-data/trainer",
            num_train_epochs=options.epochs,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=128,
            learning_rate=5e-3,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=train,
        eval_dataset=val,
        data_collator=DataCollatorForSeq2Seq(tokenizer),  # pads the labels as well, with -100
    )
    recording = "by-product" if options.by_product else "eval"
    trainer.add_callback(LossprintCallback(options.out, file, trainer=trainer, recording=recording))
    trainer.train()
    print_suspects(options.out, planted)


def made_up_instructions(random: np.random.Generator, train: int = 600, val: int = 60) -> tuple[pd.DataFrame, set[str]]:
    """Columns prompt, response, split, id; and the ids of the training samples with a wrong response."""
    known = WORDS.split()
    opposite = dict(zip(known, np.array(known).reshape(-1, 2)[:, ::-1].ravel().tolist()))
    words = random.choice(known, train + val)
    table = pd.DataFrame({"prompt": [random.choice(PROMPTS).format(word) for word in words]})
    wrong = random.choice(train, train // 20, replace=False)
    answers = [opposite[word] for word in words]
    for row in wrong:
        answers[row] = random.choice([word for word in known if word not in (words[row], answers[row])])
    table["response"] = [RESPONSE.format(answer) for answer in answers]
    table["split"] = ["train"] * train + ["val"] * val
    table["id"] = [f"instruction-{number:04d}" for number in range(len(table))]
    return table, set(table.loc[wrong, "id"])


def tokenized(rows: pd.DataFrame, tokenizer) -> Dataset:
    """input_ids of prompt and response; labels the same, but -100 over the prompt."""
    parts = zip(*(tokenizer(rows[name].tolist())["input_ids"] for name in ("prompt", "response")))
    return Dataset.from_list(
        [{"input_ids": prompt + response, "labels": [-100] * len(prompt) + response} for prompt, response in parts]
    )


if __name__ == "__main__":
    main()
