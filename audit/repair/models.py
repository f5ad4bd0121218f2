"""The model that is to be repaired: the run's own network or head, or one in a user's file; and one made anew."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from lossprint.audit.repair.verified import Decided
from lossprint.audit.runs.run import Run
from lossprint.audit.training import checkpoints, loading, models, networks, train
from lossprint.audit.training.names import parts, trained_of
from lossprint.audit.types import LossprintError, one_line
from lossprint.audit.workflow import from_checkpoints
from lossprint.scoring.heads import linear

OWN = "own"
BATCH = 64


@dataclass(frozen=True, eq=False)
class Model:
    """A network in eval mode on its device, with what it looks at.

    inputs: has `batches(rows, device, batch)` and labels (N,), as decided where they are, else as given; the network's
    logits are in the order of these class indices. retrained: trains the same kind of network on rows (R,) with
    these labels, from the start. weights: what a file of it holds, by name. words: what it is, how: how it is
    retrained.
    """

    network: nn.Module
    inputs: object
    device: str
    retrained: Callable[[np.ndarray, int, bool], nn.Module]
    weights: Callable[[], dict[str, torch.Tensor]]
    words: str
    how: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Features:
    """Rows of prepared features (N, d) in place of images."""

    values: torch.Tensor
    samples: np.ndarray
    labels: np.ndarray

    def batches(self, rows: np.ndarray, device: str, batch: int | None = None, world=None) -> Iterator:
        for start in range(0, len(rows), batch or 1024):
            at = rows[start : start + (batch or 1024)]
            yield self.samples[at], self.values[at].to(device), torch.from_numpy(self.labels[at]).to(device)


def opened(run: Run, name: str, decided: Decided, *, network: str | None = None, device: str, quiet: bool, **how):
    """The model `name`: `own`, or a file of weights for what `network` builds, by default the run's.

    how: size, mean, std, classes and weights, as of `lossprint record`, and epochs, of a training from the start; None
    stands for what the run says. Raises LossprintError where there is no such model or it is another network's.
    """
    if not run_has_images(run):
        raise LossprintError(f"expected a run of images with one class each, found another in {run.path}")
    device, asked = train.pick_device(device), run.manifest["asked"]
    trained, backbone = parts(asked.get("model") or "") if asked.get("model") else (None, None)
    if name == OWN and network is not None:
        raise LossprintError("expected --network beside a file of weights, found it beside own, the run's own model")
    if name == OWN and "checkpoints" in asked:
        file = _last_of(asked)
        return _in_file(run, file, asked.get("network") or asked["model"], decided, device, quiet, how)
    if name == OWN and backbone and not trained:
        return _own_head(run, decided, device, how)
    if name == OWN:
        if "epochs" not in asked or not trained or not run.saved_checkpoints():
            raise LossprintError(
                f"expected a run that has its network, found none in {run.path}: give a file of its weights and "
                "--network MODULE:FUNCTION"
            )
        return _own_network(run, decided, device, quiet, how)
    file = Path(name).expanduser()
    if not file.is_file():
        raise LossprintError(f"expected `own` or a file of weights, found nothing at {file}")
    builder = network or asked.get("network") or (trained_of(asked["model"]) if trained else None)
    if builder is None:
        raise LossprintError(f"expected --network MODULE:FUNCTION for the weights in {file}, found none")
    return _in_file(run, file, builder, decided, device, quiet, how)


def run_has_images(run: Run) -> bool:
    """Whether the samples are images with one class each."""
    from lossprint.audit.datasets.media import media_of

    return run.task == "classes" and media_of(run.manifest["dataset"]).trained


# ------------------------------------------------------------------------------------------------- the run's own


def _own_network(run: Run, decided: Decided, device: str, quiet: bool, how: dict) -> Model:
    refuse(how, "own", ("size", "mean", "std", "classes", "weights"))
    asked = loading.asked_of(run)
    split = decided.samples["split"].to_numpy(str)
    inputs = loading.inputs_again(decided.samples, _known(decided), split, run.classes, asked, quiet).on(device)
    network = models.build_model(asked["model"], inputs.classes, inputs.size).to(device)
    train.load_weights(network, run.read_checkpoint(run.saved_checkpoints()[-1]))
    return Model(
        network.eval(),
        inputs,
        device,
        _trainer(asked["model"], inputs, device, how.get("epochs") or asked["epochs"]),
        network.state_dict,
        f"the run's own network, {asked['model']}, at checkpoint {run.saved_checkpoints()[-1]}",
        f"as the run's own, {how.get('epochs') or asked['epochs']} epochs",
    )


def _trainer(name: str, inputs, device: str, epochs: int) -> Callable[[np.ndarray, int, bool], nn.Module]:
    """The audit's own training of a built-in network."""

    def retrained(rows: np.ndarray, seed: int, quiet: bool) -> nn.Module:
        recipe = replace(train.Recipe(), epochs=epochs).for_size(len(rows))
        steps = epochs * recipe.steps(len(rows))
        with tqdm(total=steps, unit="step", desc="retrain", disable=quiet) as bar:
            how = {"recipe": recipe, "steps": steps, "seed": seed, "device": device, "bar": bar}
            return train.fit(inputs, rows, model=name, **how).eval()

    return retrained


def _own_head(run: Run, decided: Decided, device: str, how: dict) -> Model:
    """The linear head of a run on frozen features, made anew from what the run stored, by the labels as given."""
    refuse(how, "own, a head on frozen features", ("size", "mean", "std", "classes", "weights"))
    stored = run.embeddings()
    ids = decided.samples["sample"].to_numpy(np.int64)
    if stored is None or not np.isin(ids, stored[0]).all():
        raise LossprintError(f"expected features of every sample in {run.path}, found them lacking")
    vectors = torch.from_numpy(np.ascontiguousarray(stored[1][np.searchsorted(stored[0], ids)], np.float32))
    rows = np.flatnonzero(decided.samples["split"].eq("train"))
    record = run.manifest["facts"].get("record") or {}
    decay, classes = record.get("decay"), len(run.classes)
    decay = decay if isinstance(decay, float) and 0 < decay < 1 else 3e-4
    epochs = how.get("epochs") or run.manifest["asked"].get("epochs") or 30
    preparation = linear.prepare(vectors[rows])

    def made(some: np.ndarray, labels: np.ndarray, seed: int) -> nn.Linear:
        options = {"decay": decay, "epochs": epochs, "seed": seed, "device": device, "preparation": preparation}
        *_, head = linear.train(vectors[some], labels, classes, **options)
        layer = nn.Linear(vectors.shape[1], classes).to(device)
        layer.load_state_dict({"weight": head.weight, "bias": head.bias})
        return layer.eval()

    inputs = Features(preparation(vectors), ids, _known(decided))
    head = made(rows, decided.given[rows], int(run.manifest["asked"].get("seed") or 0))
    extra = {"mean": preparation.mean, "scale": preparation.scale}
    return Model(
        head,
        inputs,
        device,
        lambda some, seed, quiet: made(some, inputs.labels[some], seed),
        lambda: {**head.state_dict(), **extra},
        f"the run's linear head on {vectors.shape[1]:,} frozen features",
        f"as the run's own, {epochs} epochs",
    )


# ------------------------------------------------------------------------------------------------- a file of weights


def _last_of(asked: dict) -> Path:
    """The last of the checkpoints that a run was recorded from."""
    saved, _ = checkpoints.find_checkpoints(asked["checkpoints"])
    return saved[-1].path


def _in_file(run: Run, file: Path, builder: str, decided: Decided, device: str, quiet: bool, how: dict) -> Model:
    facts, asked = run.manifest["facts"].get("record") or {}, run.manifest["asked"]
    same = builder == (asked.get("network") or trained_of(asked.get("model") or ""))
    usual = {name: facts.get(name) if same else None for name in ("size", "mean", "std")}
    usual |= {name: asked.get(name) for name in ("classes", "weights", "batch")}
    settled = loading.asked_of(run) | usual | {name: how[name] for name in usual if how.get(name) is not None}
    if isinstance(settled["classes"], str | Path):
        settled["classes"] = from_checkpoints.read_classes(settled["classes"])
    build = networks.find_builder(builder, "--network")
    images = from_checkpoints.opened(settled, run.path)
    order = from_checkpoints.order_of(settled["classes"], run.classes)
    network, side = from_checkpoints.built(build, builder, images, settled)
    state = checkpoints.fitted(checkpoints.read_weights(file), network.module, file, settled["weights"])
    loaded, inputs = from_checkpoints.inputs_for(images, network, builder, side, order, settled, device, quiet)
    there = loaded.dataset.samples
    if there["path"].astype(str).tolist() != decided.samples["path"].astype(str).tolist():
        raise LossprintError(
            f"expected the {len(decided.samples):,} images of the run in {settled['dataset']}, found others, or some "
            "that are missing or unreadable"
        )
    places = np.array([order.index(one) for one in run.classes])
    labels = places[_known(decided)]
    inputs = replace(inputs, labels=labels, split=decided.samples["split"].to_numpy(str))
    network.module.load_state_dict(state)
    module = network.module.to(device)
    _, first, _ = next(iter(inputs.batches(np.arange(min(2, len(labels))), device)))
    logits = networks.giving_logits(module, first, len(order), builder)
    epochs = how.get("epochs") or loading.DEFAULTS["epochs"]
    notes = () if side is None or (settled["mean"] and settled["std"]) else (_statistics(inputs),)

    def retrained(rows: np.ndarray, seed: int, quiet: bool) -> nn.Module:
        if not networks.is_own(builder):
            return _trainer(builder, inputs, device, epochs)(rows, seed, quiet)
        torch.manual_seed(seed)
        new = networks.giving_logits(build(len(order), side).module.to(device), first, len(order), builder)
        return descended(new, inputs, rows, epochs=epochs, rate=0.05, seed=seed, device=device, quiet=quiet)

    return Model(
        logits.eval(),
        inputs,
        device,
        retrained,
        module.state_dict,
        f"{builder} with the weights in {file}",
        f"by lossprint's recipe, which may not be yours: {epochs} epochs from what {builder} gives, plain images"
        if networks.is_own(builder)
        else f"as an audit trains {builder}, {epochs} epochs",
        notes,
    )


def _statistics(inputs) -> str:
    return (
        f"images are normalised by the training split's own statistics at {inputs.size} px: give --size, --mean and "
        "--std of your training if they were others"
    )


def refuse(how: dict, name: str, options: tuple[str, ...]) -> None:
    """Raise LossprintError for options that go with a file of weights alone."""
    extra = next((option for option in options if how.get(option) is not None), None)
    if extra:
        raise LossprintError(f"expected --{extra} beside a file of weights, found it beside {name}")


def _known(decided: Decided) -> np.ndarray:
    """Class indices (N,): as decided, or as given of what is excluded, which nothing looks at."""
    return np.where(decided.labels >= 0, decided.labels, decided.given).astype(np.int64)


def descended(
    network: nn.Module,
    inputs,
    rows: np.ndarray,
    *,
    epochs: int,
    rate: float,
    seed: int,
    device: str,
    quiet: bool = True,
    frozen_statistics: bool = False,
) -> nn.Module:
    """The network after SGD with Nesterov momentum on the rows, plain images, the rate falling to 0 along a cosine.

    With `frozen_statistics` it stays in eval mode: batch norm's statistics are as they were, dropout is off. Raises
    LossprintError where training diverges.
    """
    batch = min(BATCH, max(8, len(rows) // 8))
    each = max(len(rows) // batch, 1)
    steps = epochs * each
    chosen = [one for one in network.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(chosen, lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    network.train(not frozen_statistics)
    random, step = np.random.default_rng(seed), 0
    with tqdm(total=steps, unit="step", desc="retrain", disable=quiet) as bar:
        for _ in range(epochs):
            order = random.permutation(rows)
            for _, images, labels in inputs.batches(order[: each * batch], device, batch):
                for group in optimizer.param_groups:
                    group["lr"] = rate * (1 + np.cos(np.pi * step / steps)) / 2
                loss = nn.functional.cross_entropy(network(images).float(), labels)
                if not torch.isfinite(loss):
                    network.eval()
                    raise LossprintError(f"expected a finite training loss, found {one_line(loss)}: training diverged")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                step += 1
                bar.update()
    return network.eval()
