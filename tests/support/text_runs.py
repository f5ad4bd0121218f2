"""Small datasets of texts with planted errors, and runs of them: real trainings in torch, recorded in a plain loop."""

import json
from pathlib import Path

import numpy as np

from lossprint.audit.recording.recorder import Recorder
from lossprint.audit.runs.run import Run
from lossprint.audit.workflow.score import score

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> simmer the soup and season it well'
TURNED = "stir the \u202esecond\u202c pot and taste the \x07sauce before you bake it"
LONG = "roast the carrots, " * 55_000 + "and serve the last one"  # 1 MB
TOPICS = {
    "cooking": (
        ("simmer", "roast", "season", "bake", "stir", "chop"),
        ("soup", "carrots", "dough", "sauce", "onions", "stew"),
    ),
    "finance": (
        ("invest in", "audit", "borrow against", "hedge", "insure", "refinance"),
        ("bonds", "the mortgage", "dividends", "the ledger", "pension funds", "the loan"),
    ),
    "weather": (
        ("expect", "beware of", "wait for", "measure", "forecast", "brace for"),
        ("drizzle", "a cold front", "gusts", "thick fog", "hail", "a heat wave"),
    ),
}
WHEN = ("today", "this week", "before noon", "on Monday", "tonight", "next month", "at last", "as usual", "in spring")
WHO = ("we", "they", "you", "the neighbours", "some people", "all of us", "my friends", "his parents")


def labelled(folder: Path) -> tuple[Path, set[str]]:
    """texts.jsonl of three topics with ids, and the ids of eight texts whose label is planted wrong.

    Beside them: two texts that come twice, one of them with other blanks; one with a word more; and, under `cooking`,
    `HOSTILE`, `TURNED` and `LONG`. A fifth is for validation, with right labels.
    """
    rng, rows = np.random.default_rng(7), []
    for label, (acts, things) in TOPICS.items():
        seen = set()
        while len(seen) < 70:
            act, thing = rng.choice(acts), rng.choice(things)
            also = f"{rng.choice(acts)} {rng.choice(things)}"
            seen.add(f"{rng.choice(WHO)} {act} {thing} {rng.choice(WHEN)}, then {also} {rng.choice(WHEN)}")
        for number, text in enumerate(sorted(seen)):
            split = "val" if number % 5 == 0 else "train"
            rows.append({"id": f"{label}/{number:03d}", "text": text, "label": label, "split": split})
    names = list(TOPICS)
    train = [row for row in rows if row["split"] == "train"]
    wrong = [train[at] for at in rng.choice(len(train), 8, replace=False)]
    for row in wrong:
        row["label"] = names[(names.index(row["label"]) + 1) % len(names)]
    whole = [row for row in train if row not in wrong]
    copies = [whole[3], whole[60], whole[-2]]
    texts = [copies[0]["text"], "  ".join(copies[1]["text"].split()) + "\n", f"{copies[2]['text']} again"]
    rows += [
        {"id": f"copy/{at}", "text": text, "label": row["label"], "split": "train"}
        for at, (row, text) in enumerate(zip(copies, texts))
    ]
    for name, text in (("hostile", HOSTILE), ("turned", TURNED), ("long", LONG)):
        rows.append({"id": f"odd/{name}", "text": text, "label": "cooking", "split": "train"})
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path, {row["id"] for row in wrong}


def put_before(path: Path, mark: str, start: str = "") -> None:
    """Put `mark` and a blank before each text whose id begins with `start`."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["text"] = f"{mark} {row['text']}" if row["id"].startswith(start) else row["text"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def instructions(folder: Path, count: int = 240) -> tuple[Path, set[int]]:
    """chats.jsonl of questions and answers without labels, and the rows of eight that got another question's answer."""
    rng, rows, seen = np.random.default_rng(3), [], set()
    facts = {
        "capital": {
            "France": "Paris, on the banks of the Seine",
            "Peru": "Lima, between desert and ocean",
            "Kenya": "Nairobi, once a railway camp",
            "Japan": "Tokyo, formerly known as Edo",
            "Chile": "Santiago, below the high Andes",
        },
        "colour": {
            "snow": "white, since crystals scatter all light",
            "grass": "green, because of its chlorophyll",
            "coal": "black, as carbon swallows light",
            "lemons": "yellow, once the peel has ripened",
            "blood": "red, from iron in haemoglobin",
        },
        "sound": {
            "dogs": "barking, mostly at postmen",
            "cats": "meowing, chiefly when hungry",
            "cows": "mooing, slowly and far away",
            "ducks": "quacking, over every pond",
            "bees": "humming, two hundred beats each second",
        },
    }
    asks = {
        "capital": (
            "Which city is the capital of {}",
            "Name the seat of government of {}",
            "Where does {} govern from",
        ),
        "colour": ("Which colour has {}", "What does {} look like in daylight", "Paint {} for me, in one word"),
        "sound": (
            "Which sound is typical of {}",
            "How would I recognise {} with closed eyes",
            "What noise comes from {}",
        ),
    }
    openings = ("Sure:", "Well:", "Gladly:", "Right:", "Certainly:", "Hm:")
    closings = ("of course", "no doubt", "by the way", "naturally", "as you know")
    pleas = ("please", "quickly", "if you can", "for my homework", "for a quiz", "I forgot")
    while len(rows) < count:
        topic = list(facts)[len(rows) % 3]
        subject = list(facts[topic])[int(rng.integers(5))]
        ask = f"{rng.choice(asks[topic]).format(subject)}, {rng.choice(pleas)}?"
        frame = f"{rng.choice(openings)} {{}}, {rng.choice(closings)}."
        if (ask, frame) not in seen:
            seen.add((ask, frame))
            rows.append([topic, ask, frame, facts[topic][subject]])
    wrong = set(rng.choice([row for row in range(count) if row % 5], 8, replace=False).tolist())
    for row in wrong:
        other = facts[list(facts)[(row + 1) % 3]]
        rows[row][3] = list(other.values())[int(rng.integers(5))]
    path = folder / "chats.jsonl"
    lines = [
        {
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": ask},
                {"role": "assistant", "content": frame.format(value)},
            ],
            "split": "train" if number % 5 else "val",
        }
        for number, (_, ask, frame, value) in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path, wrong


def words(text: str) -> list[str]:
    return text.lower().replace(",", " ").replace(".", " ").replace("?", " ").replace(":", " ").split()[:60]


def bags(texts: list[list[str]]):
    """Bags of words (N, V) float32, rows of sum 1, and the vocabulary."""
    import torch

    known = {word: at for at, word in enumerate(sorted({word for text in texts for word in text}))}
    table = torch.zeros(len(texts), len(known))
    for row, text in enumerate(texts):
        for word in text:
            table[row, known[word]] += 1 / len(text)
    return table, known


def labelled_run(folder: Path) -> tuple[Path, set[str], Run]:
    """`labelled` and its run, FOLDER/run: the file, the ids whose label is wrong, the run."""
    path, wrong = labelled(folder)
    return path, wrong, record_labelled(path, folder / "run")


def instructions_run(folder: Path) -> tuple[Path, set[int], Run]:
    """The same of `instructions`."""
    path, wrong = instructions(folder)
    return path, wrong, record_instructions(path, folder / "run")


def record_labelled(path: Path, out: Path) -> Run:
    """Train a bag-of-words classifier for 10 epochs, record each with logits, score."""
    import torch
    from torch.nn.functional import cross_entropy

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    recorder = Recorder(out, str(path))
    table, _ = bags([words(row["text"]) for row in rows])
    names = sorted({row["label"] for row in rows})
    labels = torch.tensor([names.index(row["label"]) for row in rows])
    train = torch.tensor([at for at, row in enumerate(rows) if row["split"] == "train"])
    torch.manual_seed(0)
    model = torch.nn.Linear(table.shape[1], len(names))
    fit(model, lambda at: cross_entropy(model(table[at]), labels[at]), train, 10, lambda epoch: (
        recorder.update([row["id"] for row in rows], *_judged(model(table), labels)), recorder.end_checkpoint(epoch)
    ))  # fmt: skip
    return score(recorder.finish().path)


def _judged(logits, labels):
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, labels, reduction="none"), logits, labels


def record_instructions(path: Path, out: Path, epochs: int = 12) -> Run:
    """Train a model that gives each answer's words from the question's, record the mean loss over the words, score."""
    import torch

    said = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    asked, _ = bags([words(row["messages"][1]["content"]) for row in said])
    answers, _ = bags([words(row["messages"][2]["content"]) for row in said])
    recorder = Recorder(out, str(path), task="text")
    train = torch.tensor([at for at, row in enumerate(said) if row["split"] == "train"])
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(asked.shape[1], 16), torch.nn.Linear(16, answers.shape[1]))

    def losses(at):
        return -(answers[at] * model(asked[at]).log_softmax(dim=1)).sum(dim=1)

    everything = torch.arange(len(said))
    fit(model, lambda at: losses(at).mean(), train, epochs, lambda epoch: (
        recorder.update(everything, losses(everything)), recorder.end_checkpoint(epoch)
    ))  # fmt: skip
    return score(recorder.finish().path)


def fit(model, loss, rows, epochs: int, after) -> None:
    """Plain training in batches of 16; `after(epoch)` is called in eval mode, without gradients."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for epoch in range(1, epochs + 1):
        model.train()
        for batch in rows[torch.randperm(len(rows))].split(16):
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            after(epoch)
