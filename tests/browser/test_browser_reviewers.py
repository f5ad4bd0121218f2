"""Sharing out a queue, and settling what two reviewers differ on, in a real Chromium."""

from browser import (
    HOSTILE,
    MARKS,
    address,
    check_access,
    eventually,
    idle,
    visit,
    watched,
)

from lossprint.audit.export import export
from lossprint.audit.export.applied import applied
from lossprint.audit.review import resolve
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

pytestmark = MARKS


def plant(runs, name: str, rows: list[tuple]) -> None:
    """(reviewer, sample, decision, new label, comment) each, as answers about suspicious labels."""
    with open_reviews(open_run(runs / name)) as reviews:
        for reviewer, sample, decision, label, comment in rows:
            reviews.add(
                finding=f"label_error:{sample}",
                sample=sample,
                decision=decision,
                new_label=label,
                reviewer=reviewer,
                comment=comment,
                seconds=4.0,
                blind="given",
            )


def settled(runs, name: str = "plain") -> dict[int, tuple[str, str]]:
    with open_reviews(open_run(runs / name)) as reviews:
        rows = resolve.adjudications(reviews.history())
    return {int(row.sample): (row.decision, row.reviewer) for row in rows.itertuples()}


def test_a_queue_is_shared_out_and_a_disagreement_is_settled_by_keyboard(page, base, runs):
    visit(page, f"{base}/reviewers?run=plain", "Reviewers")
    page.get_by_text("Nobody has reviewed yet").wait_for()
    names = page.get_by_role("combobox", name="Reviewers", exact=True)
    page.get_by_role("button", name="Clear all").click()
    page.get_by_text("Name at least one reviewer").wait_for()
    for name in ("ann", "bob"):
        names.fill(name)
        names.press("Enter")
        page.get_by_role("button", name=f"{name}, press").or_(page.get_by_text(name, exact=True)).first.wait_for()
    idle(page)
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Queue").click()
    page.get_by_role("option", name="Wrong labels").click()
    page.get_by_role("combobox", name="Reviewers for each finding").click()
    page.get_by_role("option", name="2").click()
    page.get_by_text("30 findings: 30 for 2 reviewers each.").wait_for()
    with open_reviews(open_run(runs / "plain")) as reviews:
        assert reviews.assignments().empty, "a preview stores nothing"
    page.get_by_role("button", name="Store this assignment").click()
    page.get_by_text("Assigned to 2 reviewers").wait_for()
    with open_reviews(open_run(runs / "plain")) as reviews:
        assert reviews.assignments()["reviewer"].value_counts().to_dict() == {"ann": 30, "bob": 30}
    page.get_by_text("Nothing to compare yet").wait_for()

    plant(
        runs,
        "plain",
        [
            ("ann", 10, "accept", "shirt", "a **collar**"),
            ("bob", 10, "keep", None, ""),
            ("ann", 11, "keep", None, ""),
            ("bob", 11, "keep", None, ""),
            ("ann", 12, "exclude", None, ""),
            ("bob", 12, "unsure", None, ""),
        ],
    )
    visit(page, f"{base}/reviewers?run=plain", "Reviewers")
    page.get_by_text("Answered by two or more").wait_for()
    page.get_by_text("too few to rely on").wait_for()
    check_access(page, "Reviewers")
    page.get_by_role("link", name="Settle the disagreements").click()
    page.get_by_role("heading", name="Disagreements", exact=True).wait_for()
    page.get_by_text("Sample 10 ·").wait_for()
    page.get_by_text("“a **collar**”").wait_for()
    eventually(lambda: "sample=10" in address(page))
    check_access(page, "Disagreements")
    page.get_by_text("0 of 2 settled").wait_for()
    page.keyboard.press("1")
    page.get_by_text("1 of 2 settled").wait_for()
    page.get_by_text("Sample 12 ·").wait_for()
    assert settled(runs)[10][0] == "accept"
    page.keyboard.press("u")
    page.get_by_text("0 of 2 settled").wait_for()
    page.get_by_text("Sample 10 ·").wait_for()
    assert settled(runs) == {}
    page.keyboard.press("s")
    page.get_by_text("Sample 12 ·").wait_for()
    page.keyboard.press("x")
    page.get_by_text("Sample 10 ·").wait_for()
    page.keyboard.press("1")
    page.get_by_text("All settled").wait_for()
    assert {sample: decision for sample, (decision, _) in settled(runs).items()} == {10: "accept", 12: "exclude"}
    run = open_run(runs / "plain")
    with open_reviews(run) as reviews:
        made = export.changes(applied(run, reviews)).set_index("finding")
    assert made.loc["label_error:10", "new"] == "shirt", "bob kept the label last, but it was settled"
    assert made.loc["label_error:12", "decision"] == "exclude"


def test_names_and_comments_are_text_and_a_link_shows_one_disagreement(chromium, base, runs):
    with open_reviews(open_run(runs / "hostile")) as reviews:
        other = reviews.run.classes[1]
    plant(
        runs,
        "hostile",
        [
            (HOSTILE, 20, "relabel", other, "[a](javascript:alert(1))"),
            ("bob", 20, "exclude", None, HOSTILE),
            (HOSTILE, 21, "keep", None, ""),
            ("bob", 21, "exclude", None, ""),
            ("cay", 21, "exclude", None, ""),
        ],
    )
    with watched(chromium, viewport={"width": 400, "height": 900}, color_scheme="dark") as page:
        visit(page, f"{base}/disagreements?run=hostile&sample=21", "Disagreements")
        page.get_by_text("Sample 21 ·").wait_for()
        page.get_by_text("Exclude (bob, cay)").wait_for()
        with open_reviews(open_run(runs / "hostile")) as reviews:
            shared = {"finding": "label_error:21", "sample": 21, "role": "adjudication"}
            reviews.add(**shared, decision="unsure", reviewer="dan")
        page.keyboard.press("1")
        page.get_by_text("dan has settled this meanwhile").wait_for()
        assert settled(runs, "hostile") == {21: ("unsure", "dan")}
        page.keyboard.press("1")
        eventually(lambda: settled(runs, "hostile")[21][0] == "exclude")
        visit(page, f"{base}/disagreements?run=hostile&who=bob&sample=20", "Disagreements")
        page.get_by_text("Sample 20 ·").wait_for()
        page.get_by_text(f"“{HOSTILE}”").wait_for()
        page.keyboard.press("2")
        page.get_by_text("All settled").wait_for()
        visit(page, f"{base}/disagreements?run=hostile&sample=20", "Disagreements")
        page.get_by_text("A new answer replaces it").wait_for()
        visit(page, f"{base}/reviewers?run=hostile", "Reviewers")
        page.get_by_text("Each two reviewers").wait_for()
        assert page.evaluate("window.hacked") is None
        main = page.get_by_test_id("stMain")
        assert main.evaluate("one => one.scrollWidth <= one.clientWidth + 1")
