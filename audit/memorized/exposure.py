"""Privacy exposure of a run: which of its training samples a model trained so gives away, and how far all of them.

The losses are those of the recorded training: of the audit's own network, or of the released model's training where its
losses were imported. Only for the latter is it a statement about that model. See `scoring.memorized.exposure`.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lossprint.audit.runs import checked
from lossprint.audit.runs.run import Run
from lossprint.audit.runs.tables import EXPOSURE, LOOKUP_ROWS
from lossprint.audit.system.atomic import write_table
from lossprint.audit.system.jsontext import parsed
from lossprint.audit.types import LossprintError, one_line
from lossprint.audit.words import plural
from lossprint.scoring.memorized import exposure
from lossprint.scoring.memorized.exposure import Attack, Rate

FILE = "exposure.parquet"
Z = 1.645  # deviations of a 90 % interval
FACTS = b"lossprint.exposure"  # in its metadata: the attack, checkpoints and notes, JSON


@dataclass(frozen=True, eq=False)
class Exposed:
    """table: a row a training sample, `tables.EXPOSURE`, the most exposed first. attack: None without losses of others.
    checkpoints: how many count; warm_up: how many of the first do not, being at chance level. learnt: nats, see
    `order`. copies: validation samples that are left out, as they are copies of training samples. notes: what to know
    before trusting it.
    """

    table: pd.DataFrame
    attack: Attack | None
    checkpoints: int
    warm_up: int
    learnt: float
    copies: int
    notes: tuple[str, ...]


def measure(run: Run) -> Exposed:
    """Rank the training samples, attack the run, and keep both. LossprintError for a run without losses."""
    checkpoints = [one for one in run.recorded("train") if one > 0]
    if not checkpoints:
        raise LossprintError(f"expected recorded losses of a training in {run.path}, found none after checkpoint 0")
    classes = run.task == "classes" and len(run.classes) > 1
    skipped = _warm_up(run, checkpoints, float(np.log(len(run.classes)))) if classes else 0
    others, copies = _others(run, checkpoints[-1])
    ids, spread, final = _spreads(run, skipped)
    if not len(ids):
        raise LossprintError(f"expected training samples in {run.path}, found none")
    learnt = exposure.LEARNT if classes else float(np.nanmedian(others if np.isfinite(others).any() else final))
    rank = exposure.order(spread, final, learnt)
    table = pd.DataFrame(
        {"sample": ids, "rank": rank, "exposure": spread, "final_loss": final, "learnt": final <= learnt}
    )
    table = table.sort_values("rank", key=lambda ranks: ranks.where(ranks > 0, len(ranks) + 1), kind="stable")
    attack = None
    if np.isfinite(others).any() and np.isfinite(final).any():
        attack = exposure.attack(final, others)
    count = len(checkpoints) - skipped
    notes = _notes(run, count, skipped, attack, copies, int((rank == 0).sum()))
    exposed = Exposed(table.reset_index(drop=True), attack, count, skipped, learnt, copies, tuple(notes))
    _write(run, exposed)
    return exposed


def _warm_up(run: Run, checkpoints: list[int], chance: float) -> int:
    """See `scoring.memorized.exposure.warm_up`, a checkpoint in memory at a time; quartiles need some to be left."""
    for at, checkpoint in enumerate(checkpoints):
        losses = run.part("train", checkpoint, columns=["sample", "loss"])["loss"].to_numpy()
        if not exposure.at_chance(losses, chance):
            return at if len(checkpoints) - at >= exposure.LEAST else 0
    return 0


def _spreads(run: Run, skipped: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids (N,), LT-IQR (N,) and the last loss (N,), a range of the samples in memory at a time."""
    ids = run.sample_ids("train")
    spread, final = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    for start in range(0, len(ids), LOOKUP_ROWS):
        part = slice(start, start + LOOKUP_ROWS)
        losses = run.trajectory("train", True, (ids[part][0], ids[part][-1])).trained().losses[skipped:]
        spread[part], final[part] = exposure.lt_iqr(losses), losses[-1]
    return ids, spread, np.where(np.isfinite(final), final, np.nan)


def _others(run: Run, checkpoint: int) -> tuple[np.ndarray, int]:
    """The losses (M,) of the validation samples at a checkpoint, and how many are left out: copies of members."""
    if checkpoint not in run.recorded("val"):
        return np.empty(0), 0
    part = run.part("val", checkpoint, columns=["sample", "loss"])
    samples, losses = part["sample"].to_numpy(), part["loss"].to_numpy()
    pairs, members = run.duplicates(), run.sample_ids("train")
    first, second = pairs["sample"].to_numpy(), pairs["partner"].to_numpy()
    seen = np.concatenate([second[np.isin(first, members)], first[np.isin(second, members)]])
    copy = np.isin(samples, seen)
    return losses[~copy].astype(np.float64), int(copy.sum())


def _notes(run: Run, count: int, skipped: int, attack: Attack | None, copies: int, unranked: int) -> list[str]:
    notes = []
    if count < exposure.LEAST:
        notes.append(f"{plural(count, 'checkpoint')}: quartiles need {exposure.LEAST}, so nothing is ranked")
    elif count < exposure.ENOUGH:
        notes.append(f"{plural(count, 'checkpoint')}: quartiles say much from about {exposure.ENOUGH} on")
    if skipped:
        notes.append(f"the first {plural(skipped, 'checkpoint')} at chance level left out")
    if unranked and count >= exposure.LEAST:
        notes.append(f"{plural(unranked, 'sample')} not ranked: a loss is missing")
    if run.head() is not None and not run.members("view"):
        notes.append("a linear head on frozen features: it is the head that is asked, which keeps little of a sample")
    if attack is None:
        notes.append("no losses of validation samples at the last checkpoint: members cannot be told from others")
    else:
        if attack.auroc + Z * attack.error < 0.5:
            notes.append(
                "members have higher losses than the others, as where more of their labels are wrong: the attack by "
                "loss says nothing here"
            )
        lacking = [one.rate for one in attack.found if not one.measured]
        if lacking:
            need = f"{round(1 / min(lacking)):,}"
            rates = " and ".join(f"{100 * rate:g} %" for rate in lacking)
            notes.append(
                f"false positive rate {rates} cannot be measured: it takes {need} samples that were not trained on, "
                f"there are {attack.others:,}"
            )
    if copies:
        notes.append(f"{plural(copies, 'validation sample')} left out, copies of training samples")
    return notes


# ------------------------------------------------------------------------------------------------- kept


def _write(run: Run, exposed: Exposed) -> None:
    facts = {name: getattr(exposed, name) for name in ("checkpoints", "warm_up", "learnt", "copies", "notes")}
    facts |= {"attack": None if exposed.attack is None else asdict(exposed.attack)}
    table = pa.Table.from_pandas(exposed.table, schema=EXPOSURE, preserve_index=False)
    text = json.dumps(facts)
    write_table(run.path / FILE, table.replace_schema_metadata({**(table.schema.metadata or {}), FACTS: text.encode()}))


def stamp(run: Run) -> int:
    """When it was measured last, in nanoseconds; 0 if never."""
    file = run.path / FILE
    return file.stat().st_mtime_ns if file.exists() else 0


def kept(run: Run) -> Exposed | None:
    """What `measure` kept, None where nothing was measured. LossprintError where it is damaged."""
    if not stamp(run):
        return None
    table = run.table(FILE)
    try:
        text = (pq.read_schema(run.path / FILE).metadata or {})[FACTS]
        facts = checked.exposure_facts(parsed(text.decode("utf-8")))
        attack = facts.pop("attack")
        if attack is not None:
            rates = {name: tuple(Rate(**one) for one in attack.pop(name)) for name in ("found", "spared")}
            attack = Attack(**attack, **rates)
        notes = tuple(facts.pop("notes"))
        return Exposed(table, attack, notes=notes, **facts)
    except (*checked.DAMAGED, RecursionError) as error:
        raise LossprintError(f"expected a readable {FILE} in run {run.path}, found: {one_line(error)}") from None


def most_exposed(run: Run, share: float) -> np.ndarray:
    """The ids of the share of ranked training samples that are the most exposed. LossprintError without a ranking."""
    exposed = kept(run)
    if exposed is None:
        raise LossprintError(f"expected a ranking by exposure in {run.path}, found none: lossprint exposure {run.path}")
    ranked = exposed.table[exposed.table["rank"] > 0]
    if ranked.empty:
        raise LossprintError(f"expected a ranking by exposure in {run.path}, found none: {'; '.join(exposed.notes)}")
    return ranked.sort_values("rank")["sample"].to_numpy(np.int64)[: int(np.ceil(share * len(ranked)))]


# ------------------------------------------------------------------------------------------------- in words


def sentences(exposed: Exposed) -> list[str]:
    """What was measured, in plain sentences without a full stop; no name of a sample in it."""
    said = []
    if exposed.attack is not None:
        attack = exposed.attack
        low, high = attack.auroc - Z * attack.error, attack.auroc + Z * attack.error
        said.append(
            f"By its loss alone a member is told from another in {attack.auroc:.3f} of all pairs, .5 being chance "
            f"(AUROC; 90 % interval {max(low, 0):.3f} to {min(high, 1):.3f}; {attack.members:,} members, "
            f"{attack.others:,} others)"
        )
        for rate in attack.found:
            if rate.measured:
                said.append(
                    f"Where {100 * rate.rate:g} % of the others are wrongly called members, {_percent(rate.found)} of "
                    f"the members are told ({_percent(rate.low)} to {_percent(rate.high)}); by chance "
                    f"{100 * rate.rate:g} %"
                )
        tail = next((one for one in reversed(attack.spared) if one.measured), None)
        if tail is not None:
            said.append(
                f"{_percent(tail.found)} of the others have a loss above all but {100 * tail.rate:g} % of the "
                "members': the fatter this tail, the more an attack with shadow models is likely to find"
            )
    ranked = exposed.table[exposed.table["rank"] > 0]
    if len(ranked):
        late = int((~ranked["learnt"].astype(bool)).sum())
        said.append(
            f"{plural(len(ranked), 'training sample')} ranked by the spread of their losses over "
            f"{plural(exposed.checkpoints, 'checkpoint')}; {late:,} that were never learnt come last"
        )
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
