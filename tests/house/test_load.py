"""The load benchmark in a short form: nothing goes wrong, each decision is stored once; what goes wrong is told."""

import asyncio
import importlib
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import in_a_thread
from sqlalchemy import create_engine, text

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
OPTIONS = {"sessions": 2, "minutes": 0.001, "one": 0.001, "pause": 0.02, "seed": 1, "after": 0}
SHARES = {"labels": {"page turn": 0.4, "decision": 0.4, "drawer": 0.1, "next page": 0.1}}


@pytest.fixture(scope="module")
def load():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))  # as a script finds what lies beside it
        people = importlib.import_module("load_people")
        patch.setattr(people, "PAGES", 2)
        patch.setattr(people, "AT_LEAST", 5)  # whatever the clock says: a busy machine does few in a second
        patch.setattr(people, "SHARES", people.SHARES | SHARES)
        yield importlib.import_module("load")


@pytest.fixture(scope="module")
def run(load, tmp_path_factory) -> Path:
    return load.generated_run.make(tmp_path_factory.mktemp("load") / "made", 1000, validation=100, checkpoints=4)


@pytest.fixture(scope="module")
def held(load, run, tmp_path_factory):
    """A short run of the whole: the rows of its table, whether it says that all went well, accounts, and the run."""
    mine, phases = load.copied(run, tmp_path_factory.mktemp("held")), []
    together = load.together

    async def noted(*how):
        phases.append(await together(*how))
        return phases[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "together", noted)
        rows, well = in_a_thread(load.measured, mine, SimpleNamespace(**OPTIONS))
    return SimpleNamespace(rows=rows, well=well, phases=phases, run=mine)


def history(run: Path) -> pd.DataFrame:
    with open_reviews(open_run(run)) as kept:
        return kept.history()


def test_sessions_hold_and_every_decision_is_stored_once(load, held):
    accounts = [one for phase in held.phases for one in phase.accounts]
    assert held.well, held.rows
    assert len(accounts) == 3 and not any(one.broke or one.faults for one in accounts)
    table = "\n".join(held.rows)
    assert "| sessions held to the end | 1 of 1 | 2 of 2 |" in table and table.count("| 0 | 0 |") >= len(load.KINDS)
    done = {name: sum(len(phase.times(name)) for phase in held.phases) for name in load.ACTIONS}
    assert done["page turn"] > 1 and done["decision"] > 1, done
    assert all(np.concatenate([phase.times(name) for phase in held.phases]).min(initial=1) > 0 for name in done)
    rows = history(held.run)
    assert sum(one.told.total() for one in accounts) == rows["token"].isna().sum() + (
        rows["token"].str.endswith(":0").fillna(False).sum()
    )
    assert set(rows["reviewer"]) <= {"Solo", "Reviewer 1", "Reviewer 2"}


def test_a_decision_that_is_gone_or_there_twice_is_counted(load, held, tmp_path):
    run = Path(shutil.copytree(held.run, tmp_path / "run"))
    accounts = [one for phase in held.phases for one in phase.accounts]
    assert load.compared(accounts, history(run)) == (Counter(), Counter())
    rows = history(run)
    first, second = rows.loc[rows["token"].isna(), "id"].iloc[:2]
    engine = create_engine(f"sqlite:///{run / 'reviews.db'}")
    with engine.begin() as connection:
        found = connection.execute(text("select * from reviews where id = :id"), {"id": int(first)}).mappings().one()
        again = {name: value for name, value in found.items() if name != "id"}
        names = ", ".join(f'"{name}"' for name in again)
        connection.execute(
            text(f"insert into reviews ({names}) values ({', '.join(':' + one for one in again)})"), again
        )
        connection.execute(text("delete from reviews where id = :id"), {"id": int(second)})
    engine.dispose()
    lost, doubled = load.compared(accounts, history(run))
    assert lost.total() == 1 and doubled.total() == 1


def test_answers_are_compared_by_their_token(load):
    account = load.Account(sent=Counter({("Ann", "t1"): 1, ("Ann", "t2"): 1}), told=Counter({("Ann", "t1"): 1}))
    names = ("reviewer", "sample", "decision", "new_label", "token")

    def seen(*rows):
        return load.compared([account], pd.DataFrame(rows, columns=names))

    group = [("Ann", 1, "keep", None, "t1:0"), ("Ann", 2, "exclude", None, "t1:1")]
    assert seen(*group) == (Counter(), Counter())
    assert seen(*group, ("Ann", 3, "keep", None, "t2:0")) == (Counter(), Counter()), "sent, and never told"
    assert seen() == (Counter({("Ann", "t1"): 1}), Counter())
    assert seen(*group, ("Bo", 3, "keep", None, "t3:0"))[1] == Counter({("Bo", "t3"): 1})


def test_what_a_page_says_is_wrong_is_a_fault(load):
    from streamlit.proto.Alert_pb2 import Alert
    from streamlit.proto.Delta_pb2 import Delta

    tab = load.Person("http://127.0.0.1:1", "Ann", 1.0, (0,)).tab
    for wrong in ("exception", "alert", "tile", "markup"):
        delta = Delta()
        if wrong == "exception":
            delta.new_element.exception.message = "planted"
        elif wrong == "alert":
            delta.new_element.alert.format, delta.new_element.alert.body = Alert.ERROR, "planted"
        else:
            source = "null" if wrong == "tile" else '"data:image/png;base64,PGh0bWw+PGh0bWw+"'
            delta.new_element.bidi_component.id = "$$ID-0123-gallery-label_error"
            delta.new_element.bidi_component.json = f'{{"tiles": [{{"id": 3, "src": {source}, "turns": []}}]}}'
        tab.take(delta)
    assert [kind for kind, _ in tab.faults] == ["page", "page", "image", "image"]
    delta = Delta()
    delta.new_element.alert.format, delta.new_element.alert.body = Alert.WARNING, "harmless"
    tab.take(delta)
    assert len(tab.faults) == 4 and list(tab.places) == ["gallery-label_error"]


def test_images_that_are_gone_and_a_server_that_dies_are_told(load, run, tmp_path, monkeypatch):
    """The dataset is moved away under the server, which is killed once that was noticed."""
    from load_tab import Tab

    mine, images, fault = load.copied(run, tmp_path), run.parent / "data" / "images", Tab.fault
    images.rename(images.with_name("moved"))
    try:
        with load.dashboard.ours(mine) as (url, server):

            def noted(tab, kind, text):
                fault(tab, kind, text)
                if kind == "image":
                    os.kill(server.pid, signal.SIGKILL)

            monkeypatch.setattr(Tab, "fault", noted)
            phase = in_a_thread(asyncio.run, load.together(url, server.pid, ["Ann", "Bo"], 1, 0.1, 0))
    finally:
        images.with_name("moved").rename(images)
    assert all(one.broke for one in phase.accounts) and len(phase.faults("session")) == 2
    assert phase.faults("image")
    rows = load.table(phase, phase, Counter(), Counter(), {})
    assert "| sessions held to the end | 0 of 2 | 0 of 2 |" in rows


def test_growth_and_minutes_are_read_off_the_second_half(load):
    memory = [(at / 12, 100 + (60 if at < 60 else 2 * at / 12)) for at in range(121)]
    more, rate = load.growth(memory)
    assert rate == pytest.approx(2) and more == pytest.approx(10)
    assert load.each_minute(memory)[::5] == pytest.approx([160, 110, 120]) and len(load.each_minute(memory)) == 12
    times = np.arange(1, 101.0)
    assert load.cell(3 * times, times) == "152 / 285 (3.0 / 3.0 x)" and load.cell(times[:0]) == "none"
