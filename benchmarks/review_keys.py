"""How long the review page takes from a key to the next image, beside an empty Streamlit app. See review.py.

All times are taken inside the page, from the keydown to the frame after the next question's images are there, decoded;
of the empty app, to the frame after its text has changed. By turns, in one browser.
"""

import tempfile

import dashboard
import numpy as np
from review_sessions import SEES, copied

MOST = 3.0  # times the empty app
WARM = 3  # decisions and presses that are not counted
NAME = "keys"
EMPTY = dashboard.EMPTY.replace("on_click=more)", 'on_click=more, shortcut="M")')


def keys(options) -> None:
    """Print a line a tier of questions, and that as many decisions are stored."""
    from lossprint.audit import open_run
    from lossprint.audit.review.reviews import open_reviews

    with tempfile.TemporaryDirectory() as folder:
        run = copied(options.run, folder)
        with (
            dashboard.empty(folder, EMPTY) as (bare, _),
            dashboard.browsing() as new_page,
            dashboard.ours(run) as (url, _),
        ):
            pages = new_page(), new_page()
            pages[0].context.add_cookies([{"name": "lossprint_reviewer", "value": NAME, "url": url}])
            dashboard.went(pages[1], bare, "button")
            presses = 0
            for tier in options.tiers:
                ours, theirs = by_turns(
                    *pages, f"{url}/review?tier={tier.replace(' ', '+')}", options.decisions, presses
                )
                presses += len(theirs) + WARM
                print(line(tier, ours, theirs), flush=True)
        history = open_reviews(open_run(run)).history()
    tokens = history.loc[history["stands"], "token"].str.rsplit(":", n=1).str[0]
    asked, expected = tokens.nunique(), (options.decisions + WARM) * len(options.tiers)
    print(f"{asked} decisions stored, {expected} given, on {history['finding'].nunique()} findings")
    if not asked == expected == history["finding"].nunique():
        raise SystemExit(1)


def by_turns(page, bare, url: str, decisions: int, presses: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each decision, and of each press in the empty app, whose button was pressed so often before."""
    dashboard.went(page, url, "question", "whole")
    dashboard.settle(page)
    card = page.locator(".card[data-token]")
    ours, theirs = [], []
    for turn in range(decisions + WARM):
        seen = card.evaluate(SEES)
        _, key = seen["choices"][turn % len(seen["choices"])]
        ours.append(
            dashboard.pressed(page, lambda key=key: page.keyboard.press(key.lower()), "question", seen["token"])
        )
        dashboard.settle(page)
        theirs.append(dashboard.pressed(bare, lambda: bare.keyboard.press("m"), "count", presses + turn + 1))
        dashboard.settle(bare)
    return ours[WARM:], theirs[WARM:]


def line(tier: str, ours: list[float], theirs: list[float]) -> str:
    """Medians and 90 % quantiles in ms, and their ratio."""
    (middle, high), (unit, slow) = (np.quantile(values, [0.5, 0.9]) for values in (ours, theirs))
    told = f"{tier:<12} next image {middle:5.0f} ms (90 %: {high:.0f}) | empty app {unit:5.0f} ms (90 %: {slow:.0f})"
    return f"{told} | ratio {middle / unit:.2f}, target {MOST:g} | {dashboard.verdict(middle / unit, MOST)}"
