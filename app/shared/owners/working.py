"""Jobs as pages show them: a button that starts one below the command that it runs, and how far each of them is."""

import time
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from lossprint.app import data
from lossprint.app.access import owned, roles
from lossprint.app.shared import decide, guard, parts
from lossprint.audit.runs.open import how_far, open_run
from lossprint.audit.types import LossprintError
from lossprint.audit.workflow import jobs, offered

EVERY = 2.0  # seconds between two looks at a job at work
ICONS = {
    jobs.WORKING: ":blue-badge[:material/hourglass_top: at work]",
    jobs.DONE: ":green-badge[:material/check_circle: done]",
    jobs.FAILED: ":red-badge[:material/error: failed]",
    jobs.CANCELLED: ":orange-badge[:material/cancel: cancelled]",
    jobs.LOST: ":red-badge[:material/power_off: ended without a word]",
}
OWNERS = "Owners of this server may start jobs."
STARTED = "_job_started"  # the folder of the job that this session started last


def attempt(act: Callable[[], None], failed: str) -> bool:
    """Call what an owner does; a known fault is one line after `failed`, told on the next run. Whether it worked."""
    try:
        act()
    except LossprintError as error:
        st.session_state["_error"] = f"{failed}: {parts.md(error)}"
        return False
    return True


def start(make: Callable[[], offered.Work]) -> bool:
    """Start what `make()` offers, from a callback."""

    def act() -> None:
        roles.require("owner", "to start a job")  # before any place is looked at
        job = owned.start(data.runs_path(), make())
        st.session_state[STARTED] = job.folder.name
        decide.say("Started. It goes on when you close this page.", ":material/play_arrow:")

    return attempt(act, "Nothing was started")


def offer(path: Path, label: str, make: Callable[[], offered.Work], key: str, follow: bool = True) -> None:
    """The command of a job on a run folder, to copy or, for owners, to start here; then, with `follow`, its card."""
    work, root = make(), data.runs_path()
    st.code(typed(work), language=None, wrap_lines=True)
    if why := owned.refused(root, work):
        st.caption(f"It is not started from here: {parts.md(why)}.")
        return
    places = (str(path.resolve()), str(work.run))
    busy = [job for job in owned.jobs_of(root) if job.run in places]
    able = roles.may("owner")
    at_work = bool(busy) and jobs.state(busy[0]) == jobs.WORKING
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            label,
            key=f"job-start-{key}",
            icon=":material/play_arrow:",
            on_click=start,
            args=(make,),
            disabled=not able or at_work,
            help=None if able else OWNERS,
        )
        if follow:
            parts.link("runs", "Runs and jobs", "inventory_2")
    if follow and busy and (at_work or busy[0].folder.name == st.session_state.get(STARTED)):
        show(busy[0])


def typed(work: offered.Work) -> str:
    """The commands of a job as one would type them."""
    return jobs.typed(work.commands)


def show(job: jobs.Job) -> None:
    """A job: looked at anew every few seconds while it is at work."""
    if jobs.state(job) == jobs.WORKING:
        guard.fragment(_watched, every=EVERY)(job)
    else:
        _card(job)


def _watched(job: jobs.Job) -> None:
    if jobs.state(job) != jobs.WORKING:
        st.rerun()  # the whole page: the run is there now
    _card(job)


def _card(job: jobs.Job) -> None:
    state, key = jobs.state(job), f"job-{job.folder.name}"
    with st.container(border=True, key=f"{key}-card", gap="small"):
        by = f" by {parts.md(job.by)}" if job.by else ""
        at = time.strftime("%d %b %Y, %H\\:%M", time.localtime(job.at))
        st.markdown(f"**{parts.md(job.title)}** {ICONS[state]}  \n:small[started {at}{by}]")
        if state == jobs.WORKING:
            _bar(job)
        else:
            st.markdown(_sentence(job, state))
        if roles.may("owner"):
            with st.container(horizontal=True, gap="small"):
                _acts(job, state, key)
            with st.expander("Command and log", icon=":material/terminal:"):
                st.code(job.words, language=None, wrap_lines=True)
                st.code(jobs.tail(job) or "nothing yet", language=None, wrap_lines=True)
        elif state == jobs.DONE:
            _opens(job)


def _bar(job: jobs.Job) -> None:
    progress = jobs.how_far(job)
    if jobs.cancelling(job):
        st.progress(1.0, text="Asked to end: it stops at the next safe place and keeps what is recorded.")
    elif progress is None:
        st.progress(0.0, text="Starting: reading the dataset …")
    else:
        done = progress.done / progress.total if progress.total else 0.0
        step = parts.md(progress.step or "this step")
        text = (
            f"Step **{step}**: {100 * done:.0f} %" if progress.total else f"Step **{step}**: {progress.done:,.0f} done"
        )
        if progress.left is not None:
            text += f", about {duration(progress.left)} left of this step"
        st.progress(min(1.0, max(0.0, done)), text=text)


def _sentence(job: jobs.Job, state: str) -> str:
    """What came of a job, and what is there now."""
    status, seconds = jobs.ended(job)
    took = f" after {duration(seconds)}" if seconds is not None else ""
    if state == jobs.DONE:
        return f"Done{took}."
    last = jobs.tail(job, 1)
    if state == jobs.CANCELLED:
        text = f"Cancelled{took}. "
    elif state == jobs.LOST:
        text = "It ended without a word, as when the machine is switched off. "
    elif status is not None and status < 0:
        text = f"The system ended it{took} (signal {abs(status)}); signal 9 is mostly too little memory. "
    else:
        text = f"It failed{took}: {parts.md(last.removeprefix('lossprint: '))}. "
    return text + _left(job)


def _left(job: jobs.Job) -> str:
    """What a job that was cut off has left behind."""
    try:
        run = open_run(job.run, need=None)
    except LossprintError:
        return "Nothing was recorded."
    if "find" in run.stages:
        return "The run is as it was before; what was measured so far is kept."
    return f"What is recorded is kept: {parts.md(how_far(run).partition(';')[0])}."


def _acts(job: jobs.Job, state: str, key: str) -> None:
    if state == jobs.WORKING:
        if not jobs.cancelling(job):
            st.button("Cancel", key=f"{key}-cancel", icon=":material/cancel:", on_click=_cancel, args=(job,))
        else:
            st.button(
                "End it now",
                key=f"{key}-force",
                icon=":material/dangerous:",
                on_click=_cancel,
                args=(job, True),
                help="In the middle of whatever it does. What was written as a whole stays.",
            )
        return
    if state == jobs.DONE:
        _opens(job)
    else:
        again = f"{key}-again"
        st.button("Go on with it", key=again, icon=":material/play_arrow:", on_click=_again, args=(job,))
    st.button("Clear", key=f"{key}-clear", icon=":material/close:", on_click=_clear, args=(job,), type="tertiary")


def _opens(job: jobs.Job) -> None:
    """The way to the run that a job made or added to, if it is one of those here."""
    listed = {str(one.path.resolve()): one.name for one in data.list_runs(data.runs_path()) if one.problem is None}
    if job.run in listed:
        parts.link("overview", "Open the run", "arrow_forward", {"run": listed[job.run]})


def _cancel(job: jobs.Job, force: bool = False) -> None:
    attempt(lambda: owned.cancel(job, force), "Nothing was cancelled")


def _again(job: jobs.Job) -> None:
    start(lambda: offered.continued(owned.place(data.runs_path()), job))


def _clear(job: jobs.Job) -> None:
    attempt(lambda: owned.forget(job), "Nothing was cleared")


def duration(seconds: float) -> str:
    """`40 seconds`, `3 minutes`, `1 hour 20 minutes`."""
    if seconds < 100:
        return parts.plural(max(1, round(seconds)), "second")
    minutes = round(seconds / 60)
    if minutes < 60:
        return parts.plural(minutes, "minute")
    rest = f" {parts.plural(minutes % 60, 'minute')}" if minutes % 60 else ""
    return parts.plural(minutes // 60, "hour") + rest
