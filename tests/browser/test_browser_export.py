"""The export page in a real Chromium: whose decisions apply, decisions brought in and taken back."""

from browser import (
    MARKS,
    address,
    current,
    download,
    eventually,
    idle,
    visit,
)

from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run

pytestmark = MARKS


def metrics(page) -> list[str]:
    return page.get_by_test_id("stMetricValue").all_inner_texts()


def test_whose_decisions_apply_is_chosen_and_sent_in_the_link(page, base, runs):
    run = open_run(runs / "plain")
    reviews, labels = open_reviews(run), run.samples().set_index("sample")["label"]
    for who in ("ann", "b*b"):
        other = next(label for label in run.classes if label != labels[10])
        reviews.add(finding="label_error:10", sample=10, decision="relabel", new_label=other, reviewer=who)
    reviews.add(finding="label_error:11", sample=11, decision="exclude", reviewer="ann")
    reviews.add(finding="label_error:12", sample=12, decision="unsure", reviewer="ann")
    visit(page, f"{base}/export?run=plain", "Export")
    page.get_by_text("whoever made it: changes 2 samples").wait_for()
    assert len(download(page, "Changes only (CSV)")) == 2
    page.get_by_text("What is settled").click()
    eventually(lambda: metrics(page)[1:3] == ["1", "0"] and "apply=" in address(page))
    idle(page)
    changed = download(page, "Changes only (CSV)")
    assert changed["review"].tolist() == [2] and changed["reviewer"].tolist() == ["b*b"]
    page.get_by_text("Leave them out").click()
    page.get_by_text("whoever made it: changes 3 samples").wait_for()
    idle(page)
    page.get_by_text("One reviewer", exact=True).click()
    page.get_by_text("ann changes 3 samples").wait_for()


def test_decisions_made_elsewhere_are_looked_at_stored_and_taken_back(page, base, runs, tmp_path):
    run = open_run(runs / "plain")
    paths = run.samples().set_index("sample")["path"]
    file, before = tmp_path / "f.csv", current(runs)
    file.write_text(f"path,label,reviewer\nnope.png,{run.classes[0]},ann\n")
    visit(page, f"{base}/export?run=plain", "Export")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text("Nothing was stored.").wait_for()
    assert "nope.png" in page.get_by_test_id("stAlert").inner_text()
    idle(page)
    rows = "".join(f"{paths[sample]},{run.classes[0]},{who}\n" for sample, who in ((20, "ann"), (21, "bob")))
    file = tmp_path / "g.csv"  # the browser takes another file of the same name for the same
    file.write_text(f"path,label,reviewer\n{rows}")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Store 2 decisions").wait_for()
    page.get_by_text("2 decisions by ann, bob").wait_for()
    assert current(runs) == before
    page.get_by_role("button", name="Store 2 decisions").click()
    page.get_by_text("2 decisions from g.csv stored").wait_for()
    assert set(current(runs)) - set(before) == {20, 21}
    page.get_by_role("button", name="Take it back").click()
    page.get_by_text("2 decisions taken back").wait_for()
    assert current(runs) == before
