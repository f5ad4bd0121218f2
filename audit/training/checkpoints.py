"""Checkpoints that somebody saved while training: which files they are, in which order, and the weights in them.

A folder holds files of `ENDINGS`, or folders such as checkpoint-500 with a file of `IN_FOLDER` in each, as Hugging
Face's Trainer and Accelerate leave them. Weights are read by safetensors, or by torch.load with weights_only=True: it
builds tensors and plain containers and runs nothing that the file asks for; what common tools write beside them, such
as an argparse.Namespace, is forgotten (`harmless`). torch is imported only to read them.
"""

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lossprint.audit.training.harmless import harmless
from lossprint.audit.types import LossprintError, one_line
from lossprint.audit.words import some

ENDINGS = (".safetensors", ".pt", ".pth", ".pth.tar", ".ckpt", ".bin")
IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
NO_WEIGHTS = re.compile(r"(?<![a-z])(optimizer|scheduler|scaler|rng_state|random_states|training_args)", re.IGNORECASE)
LEAST = 3  # a correlation of loss differences needs two differences
DEEPEST = 3  # mappings within mappings in which weights are looked for
# Where the number of a checkpoint stands in its name, in the order of trust. Decimals, such as 0.53, are no numbers.
PLACES = {
    "step": re.compile(r"(?<![a-z])(?:step|iter|iteration)s?[=_\-. ]*(\d+)", re.IGNORECASE),
    "epoch": re.compile(r"(?<![a-z])(?:epoch|ep)s?[=_\-. ]*(\d+)", re.IGNORECASE),
    "number": re.compile(r"(?<!\d)(?<!\d\.)(\d+)(?!\d)(?!\.\d)"),
}


@dataclass(frozen=True)
class Saved:
    """One checkpoint: its number, its name in the folder, the file that holds the weights."""

    number: int
    name: str
    path: Path


def find_checkpoints(folder: str | Path) -> tuple[list[Saved], list[str]]:
    """The checkpoints of a folder by number, ascending, and what there is to say of them, one sentence each.

    A checkpoint's number is the one after `step` or `epoch` in its name, else the last in it, where these differ; files
    without any beside them (best.pt, last.ckpt) are passed over. Else they are counted from 1 in the order of their
    names, numbers by value. Epochs counted from 0 become those from 1, since checkpoint 0 is that of the initial
    weights. Raises LossprintError for no folder and for fewer than `LEAST` checkpoints.
    """
    folder = Path(folder).expanduser().absolute()
    if not folder.is_dir():
        raise LossprintError(
            f"expected a folder of checkpoints, found {'a file' if folder.exists() else 'nothing'} at {folder}"
        )
    found, passed = _files(folder)
    numbers, said = _numbered(list(found))
    passed += [name for name in found if name not in numbers]
    saved = sorted((Saved(numbers[name], name, found[name]) for name in numbers), key=lambda one: one.number)
    trained = sum(one.number > 0 for one in saved)
    if trained < LEAST:
        names = ", ".join(sorted(found)[:5]) or "none"
        raise LossprintError(
            f"expected at least {LEAST} checkpoints ({', '.join(ENDINGS)}; 0 does not count) in {folder}, found {names}"
        )
    first, last = (f"{one.name} as {one.number}" for one in (saved[0], saved[-1]))
    notes = [f"{len(saved)} checkpoints, {first} to {last}{said}"]
    if passed:
        notes.append(f"not taken as checkpoints: {some(sorted(passed))}")
    if saved[0].number == 0:
        notes.append(f"{saved[0].name} counts as the initial weights, which no score rests on")
    return saved, notes


def _files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Name -> file of what may be a checkpoint, and the names of files that are none."""
    found, passed = {}, []
    for place in sorted(folder.iterdir()):
        inside = [place / name for name in IN_FOLDER if (place / name).is_file()] if place.is_dir() else []
        if inside and not place.name.startswith("."):
            found[place.name] = inside[0]
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and _stem(file.name) is not None]
    files.sort(key=lambda file: not file.name.endswith(ENDINGS[0]))  # of one name, safetensors is taken
    taken: set[str] = set()
    for file in files:
        # The file beside folders of checkpoints is one of them once more, the last or the best.
        if found.keys() - taken or NO_WEIGHTS.search(file.name) or _stem(file.name) in map(_stem, taken):
            passed.append(file.name)
        else:
            found[file.name] = file
            taken.add(file.name)
    return found, passed


def _stem(name: str) -> str | None:
    """The name without its ending, None where it is not one of a checkpoint."""
    ending = next((one for one in sorted(ENDINGS, key=len, reverse=True) if name.lower().endswith(one)), None)
    return None if ending is None or name.startswith(".") else name[: -len(ending)]


def _numbered(names: list[str]) -> tuple[dict[str, int], str]:
    """Name -> number, and how it was found, as the end of a sentence."""
    stems = {name: _stem(name) or name for name in names}
    found = {
        word: {name: int(hits[-1]) for name, stem in stems.items() if (hits := place.findall(stem))}
        for word, place in PLACES.items()
    }
    for word, at in found.items():
        every = at.keys() == found["number"].keys() and (len(at) == len(names) or len(at) >= LEAST)
        if every and at and len(set(at.values())) == len(at):
            if word == "epoch" and min(at.values()) == 0:
                return {name: one + 1 for name, one in at.items()}, ", since epochs count from 0 in their names"
            return at, ""
    ordered = sorted(names, key=_natural)
    said = ", in the order of their names, in which numbers do not tell them apart"
    return {name: at for at, name in enumerate(ordered, 1)}, said


def _natural(name: str) -> list[tuple]:
    """Sorts 2 before 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


# ------------------------------------------------------------------------------------------------ weights


def read_weights(path: Path) -> dict:
    """What a checkpoint file holds: tensors by name, or containers of them. Nothing in the file is run.

    Raises LossprintError, in one line, for anything that safetensors or torch.load(weights_only=True) do not read.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        whole = zipfile.is_zipfile(path)
        if not whole and path.read_bytes()[:2] == b"PK":
            raise LossprintError(f"expected weights in {path}, found a file that was cut off")
        with warnings.catch_warnings(action="ignore"), harmless():
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=whole)
    except LossprintError:
        raise
    except SafetensorError as error:
        raise LossprintError(f"expected weights in {path}, found: {one_line(error)}") from None
    except Exception as error:  # a damaged file may raise anything at all
        if "weights_only" in str(error):
            what = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = "Python objects" + (f" ({what[1]})" if what else "")
            raise LossprintError(
                f"expected tensors alone in {path}, found {what}, which are never loaded: where you trust the file, "
                "save its weights again with torch.save(model.state_dict(), FILE)"
            ) from None
        raise LossprintError(f"expected weights in {path}, found: {one_line(error) or type(error).__name__}") from None
    if not isinstance(found, Mapping):
        raise LossprintError(f"expected weights by name in {path}, found {type(found).__name__}")
    return found


def fitted(found: Mapping, network, path: Path, choice: str | None = None) -> dict:
    """Of what `read_weights` gave the network's tensors, by the network's own names: all of them, no others.

    They may lie in any mapping of the file (state_dict, model, ema) and have a prefix (module., model., _orig_mod.). Of
    several that fit, `choice` names one, such as `ema` or `state_dict/model`. Raises LossprintError, in one line, where
    none fits or several do.
    """
    own = network.state_dict()
    fits, misses = {}, []
    for place, tensors in _mappings(found):
        for prefix in _prefixes(tensors, own):
            mine = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            wrong = _misfit(mine, own)
            if wrong is None:
                label = "/".join(part for part in (place, prefix.rstrip(".")) if part)
                fits[label] = {name: mine.get(_plain(name), own[name]) for name in own}
            else:
                misses.append(wrong)
    if choice is not None and fits:
        if choice not in fits:
            raise LossprintError(f"expected weights named {choice!r} in {path}, found {_listed(fits)}")
        fits = {choice: fits[choice]}
    if len(fits) > 1:
        raise LossprintError(
            f"expected one set of weights for the network in {path}, found {len(fits)}: choose --weights "
            f"{_listed(fits, ' or ')}"
        )
    if not fits:
        detail = max(misses)[1] if misses else "no tensors by name"
        raise LossprintError(f"expected the weights of the network in {path}, found {detail}")
    return next(iter(fits.values()))


def _listed(fits: dict, between: str = ", ") -> str:
    return between.join(label or "''" for label in fits)


def _mappings(found: Mapping, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict]]:
    """(where, tensors by plain name) of each mapping that holds some, the outermost first."""
    import torch

    tensors = {_plain(name): t for name, t in found.items() if isinstance(name, str) and isinstance(t, torch.Tensor)}
    if tensors:
        yield place, tensors
    if depth < DEEPEST:
        for name, inner in found.items():
            if isinstance(inner, Mapping):
                yield from _mappings(inner, f"{place}/{name}".lstrip("/"), depth + 1)


def _plain(name: str) -> str:
    """Without what torch.compile puts in front of the names of a module's parts."""
    return name.replace("_orig_mod.", "")


def _prefixes(tensors: dict, own: dict) -> list[str]:
    """What may stand before the network's own names."""
    first = _plain(next(iter(own), ""))
    return ["", *(name[: -len(first)] for name in tensors if first and name.endswith(f".{first}"))]


def _misfit(mine: dict, own: dict) -> tuple[int, str] | None:
    """How many tensors are the network's and, in words, what is wrong with the others; None where all fit."""
    shapes = {_plain(name): tuple(tensor.shape) for name, tensor in own.items()}
    # The number of batches that batch norm has seen does not enter what it gives; old checkpoints lack it.
    needed = [name for name in shapes if not name.endswith("num_batches_tracked")]
    missing = [name for name in needed if name not in mine]
    strange = [name for name in mine if name not in shapes]
    other = [name for name in shapes if name in mine and tuple(mine[name].shape) != shapes[name]]
    if not (missing or strange or other):
        return None
    said = []
    if other:
        said.append(f"{other[0]} of shape {tuple(mine[other[0]].shape)} instead of {shapes[other[0]]}")
    if missing:
        said.append(f"{len(missing)} of {len(needed)} tensors missing, such as {missing[0]}")
    if strange:
        said.append(f"{len(strange)} that it does not have, such as {strange[0]}")
    return len(mine) - len(strange) - len(other), " and ".join(said)
