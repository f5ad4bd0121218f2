"""When to stop in a real Chromium: empty, after a review, and on to the random checks."""

from browser import (
    MARKS,
    check_access,
    eventually,
    idle,
    visit,
)

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.review.stopping import asked
from lossprint.audit.runs.open import open_run

pytestmark = MARKS


def test_what_is_known_is_said_and_the_random_checks_are_one_click_away(page, base, runs):
    visit(page, f"{base}/stop?run=plain", "When to stop")
    page.get_by_text("None of the 30 suggestions has been reviewed yet.").wait_for()
    run = open_run(runs / "plain")
    train = run.samples().query("split == 'train'")["sample"].to_numpy()
    rest = asked(run.findings(), train, 0).rest
    rows = [(f"label_error:{one}", one, "exclude" if one < 25 else "keep") for one in range(10, 34)]
    rows += [(f"audit:{one}", int(one), "keep") for one in rest[:10]]
    open_reviews(run).add_all(
        [dict(zip(("finding", "sample", "decision"), row), reviewer=("Ann", "Ben")[row[1] % 2]) for row in rows]
    )
    page.reload()
    page.get_by_text("Of 24 reviewed suggestions 15 were errors").wait_for()
    page.get_by_text("At this rate the last 6 hold about").wait_for()
    page.get_by_text("10 of 25 answered, 0 wrong").wait_for()
    idle(page)
    page.locator(".js-plotly-plot").nth(1).wait_for()
    check_access(page, "stop")
    visit(page, f"{base}/stop?run=plain&rule=Agreed+or+adjudicated", "When to stop")
    page.get_by_text("None of the 30 suggestions has been reviewed yet.").wait_for()
    page.get_by_role("link", name="Check 20 at random").click()
    page.get_by_role("heading", name="Review", exact=True).wait_for()
    eventually(lambda: "queue=Random+audit" in page.evaluate("window.location.href"))
    page.set_viewport_size({"width": 400, "height": 900})
    visit(page, f"{base}/stop?run=hostile", "When to stop")
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
