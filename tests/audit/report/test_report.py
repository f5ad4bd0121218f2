"""The report: what it says of planted runs, and that nothing of a dataset gets out of its place in it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import at_home, digests, make_run
from html_page import Page

from lossprint.audit.cli import main as cli
from lossprint.audit.cli import report as cli_report
from lossprint.audit.comparison import compare
from lossprint.audit.report import svg, words
from lossprint.audit.report import write as report
from lossprint.audit.report.facts import gather
from lossprint.audit.report.pictures import TINY, picture
from lossprint.audit.report.words import css_string, day, listed, percent, text
from lossprint.audit.review.reviews import open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.runs.run import Run
from lossprint.audit.types import Finding, LossprintError
from lossprint.scoring.intervals import Interval

HOSTILE = "</style></title><script>window.hacked=1</script>"


def read(run, **how) -> Page:
    return Page(report.report_bytes(run, **how).decode())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"), train=40).path.parent


@pytest.fixture
def run(made, tmp_path):
    return at_home(shutil.copytree(made, tmp_path / "home"))


@pytest.fixture
def decided(run):
    """Two reviewers who differ on sample 4, an adjudication, an exclusion, a blind decision and an undone one."""
    kept = open_reviews(run)
    for who in ("Ann", "Ben"):
        kept.add(finding="label_error:1", sample=1, decision="accept", new_label="shirt", reviewer=who, seconds=4.0)
    kept.add(finding="label_error:4", sample=4, decision="keep", reviewer="Ann", blind="suggestion")
    kept.add(finding="label_error:4", sample=4, decision="relabel", new_label="bag", reviewer="Ben")
    kept.add(
        finding="label_error:4", sample=4, decision="relabel", new_label="bag", reviewer="Cem", role="adjudication"
    )
    kept.add(finding="duplicate:0", sample=3, decision="exclude", reviewer="Ben", comment="a copy of 0")
    kept.add(finding="outlier:5", sample=5, decision="unsure", reviewer="Ann")
    kept.add(finding="outlier:5", sample=5, decision="exclude", reviewer="Ben")
    kept.undo("Ben")
    return run


# ------------------------------------------------------------------------------------------------- what it says


def test_the_summary_has_five_lines_and_they_are_right(decided):
    page = read(decided)
    said = page.text
    assert "120 training images of 3 classes, and 12 for validation and 12 for testing." in said
    assert "2 wrong labels, 1 group of exact duplicates, 1 group of near duplicates and 1 outlier." in said
    assert "3 reviewers (Ann, Ben and Cem) looked at 4 images" in said
    assert (
        "2 labels are changed, 1 image left out, 0 labels confirmed and 1 image left as given because the reviewers "
        "were unsure." in said
    )
    assert "Of 2 reviewed labels that had been flagged, 2 were wrong: 100 %" in said
    assert (
        "2 images were answered by two or more reviewers, who gave the same answer in 50 % of the comparisons" in said
    )
    assert (
        "None among the flagged labels, all of which were reviewed. How many there are among the images that nothing "
        "flagged is not known." in said
    )
    lines = said.split("In short ")[1].split(" What was audited")[0]
    assert [lines.count(word) for word in ("Audited", "Found", "Decided", "How sure", "Errors left")] == [1] * 5


def test_each_change_says_who_when_and_why(decided):
    page = read(decided)
    history = open_reviews(decided).history()
    changes = {row[0]: row for row in page.rows if row[0].startswith("images/train_") and len(row) == 7}
    assert list(changes) == [f"images/train_{one:03d}.png training" for one in (1, 3, 4)]
    one = changes["images/train_001.png training"]
    at = history["at"].iloc[1][:16].replace("T", " ")
    assert one[2:6] == ["coat", "shirt", f"Ben {at}", "Suggestion taken label_error:1, decision 2"]
    left_out = changes["images/train_003.png training"]
    assert left_out[2:4] == ["bag", "left out"] and left_out[6] == "a copy of 0"
    assert changes["images/train_004.png training"][5] == (
        "Label chosen by hand, to settle a disagreement label_error:4, decision 5"
    )


def test_decisions_are_counted_by_kind_and_reviewer(decided):
    rows = read(decided).rows
    people = {row[0]: row for row in rows if row[0] in ("Ann", "Ben", "Cem")}
    assert people["Ann"][1:6] == ["3", "1", "0", "0", "4.0 s"]
    assert people["Cem"][1:6] == ["1", "0", "1", "0", "–"]
    kinds = {tuple(row[:2]): row[2:] for row in rows if row[1:] and row[1] in ("Ann", "Ben", "Cem")}
    assert kinds["Wrong labels", "Ben"] == ["1", "1", "0", "0", "0"]
    assert kinds["Wrong labels", "Ann"] == ["1", "0", "1", "0", "0"]
    assert kinds["Exact duplicates", "Ben"] == ["0", "0", "0", "1", "0"]
    assert ("Outliers", "Ben") not in kinds, "what was taken back does not count"
    classes = {row[0]: row[1:] for row in rows if len(row) == 6 and row[0] in decided.classes}
    assert classes["coat"] == ["48", "-2", "+0", "0", "46"]
    assert classes["bag"] == ["48", "0", "+1", "-1", "48"]
    assert classes["shirt"] == ["48", "0", "+1", "0", "49"]


def test_agreement_and_what_is_open(decided):
    said = read(decided).text
    assert "They differ on 1 image; 1 of these was settled by an adjudication and 0 are open." in said
    assert "too few to rely on" in said
    assert "1 decision was taken back by those who had made them, and was not counted." in said
    assert (
        "Not audited, or not reviewed to the end: image quality (not looked for); near duplicates (none reviewed)."
        in said
    )


def test_the_random_checks_give_the_errors_left(run):
    of = gather(run, open_reviews(run))
    assert of.stop.rest_left is None
    from lossprint.audit.review.strata import asked

    train = of.samples.index[of.samples["split"] == "train"].to_numpy()
    rest = asked(of.findings, train, 0).rest
    rows = [(int(one), "exclude" if at == 7 else "keep") for at, one in enumerate(rest[:80])]
    open_reviews(run).add_all(
        [{"finding": f"audit:{one}", "sample": one, "decision": what, "reviewer": "Ann"} for one, what in rows]
    )
    page = read(run)
    found = gather(run, open_reviews(run)).stop
    row = next(row for row in page.rows if row[0] == "Flagged by nothing")
    assert row[1:4] == [f"{len(rest):,}", "80", "1"]
    assert row[5] == (
        f"about {found.rest_left.estimate:.0f} ({np.floor(found.rest_left.low):.0f} to "
        f"{np.ceil(found.rest_left.high):.0f})"
    )
    assert "the first 80 images of a random order" in page.text


def test_without_decisions_it_tells_what_is_suspected(run):
    page = read(run)
    assert "Nothing has been decided yet." in page.text and "Nobody has decided on an image yet" in page.text
    assert "Agreement cannot be told yet: nobody answered." in page.text
    assert f"as of {day(run.manifest['created'])}".replace("\xa0", " ") in page.text.replace("\xa0", " ")
    assert "lossprint audit --from cleaned.csv --out run" in page.text


def test_before_and_after(decided):
    val = decided.samples().query("split == 'val'")
    given = pd.Index(decided.classes).get_indexer(val["label"].astype(str))
    common = dict.fromkeys(compare.COLUMNS, 0) | {
        "split": "val",
        "model": "small",
        "steps": 100,
        "seeds": 3,
        "key": "k",
    }
    common |= {"relabelled": 2, "excluded": 1, "last_review": 2, "device": "cpu", "cleaned": "cleaned.csv"}
    frames = []
    for arm, right in (("given", 7), ("cleaned", 9), ("thinned", 7)):
        said = np.where(np.arange(12) < right, given, (given + 1) % 3)
        for seed in range(3):
            ours = {"arm": arm, "seed": seed, "sample": val["sample"], "given": given, "decided": given}
            frames.append(pd.DataFrame({**common, **ours, "predicted": said}))
    decided.write_comparison(pd.concat(frames))
    page = read(decided)
    assert "Cleaned labels: 75.0 % (given 58.3 %, randomly thinned 58.3 %), +16.7 points" in page.text
    assert "5 decisions have been made since, which this does not show." in page.text
    label = next(one["aria-label"] for one in page.all("svg") if "Accuracy of each" in one["aria-label"])
    assert "Cleaned 75.0 % on average" in label
    assert ["Cleaned", "Validation images, given labels", "12", "75.0 %", "–", "–"] in page.rows


def test_rules(decided):
    assert "3 reviewers" in read(decided, rule="majority").text
    alone = read(decided, rule="reviewer:Ann")
    assert "Whose decision holds: what Ann said." in alone.text
    assert "lossprint export changes run --out changes.csv --apply reviewer:Ann" in alone.text
    # Cem decided on labels only: still a report, on whichever kind that is
    assert "1 label is changed, 0 images left out" in read(decided, rule="reviewer:Cem").text
    with pytest.raises(LossprintError, match="expected a rule of latest"):
        report.report_bytes(decided, rule="loudest")
    with pytest.raises(LossprintError, match="expected a reviewer who decided something"):
        report.report_bytes(decided, rule="reviewer:Dan")


def test_a_reviewer_of_duplicates_only_is_no_fault(decided):
    open_reviews(decided).add(finding="near_duplicate:2", sample=6, decision="keep", reviewer="Dan")
    assert "what Dan said" in read(decided, rule="reviewer:Dan").text


# ------------------------------------------------------------------------------------------------- its form


def test_it_is_complete_in_itself_and_says_what_its_pictures_show(decided):
    html = report.report_bytes(decided).decode()
    page = Page(html)
    assert "://" not in html and "@import" not in html and "url(" not in html
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert all(one["src"].startswith("data:image/") and one["alt"] for one in page.all("img"))
    assert len(page.all("img")) == 2 + 2 + 2 + 1 + 3, "labels, groups, outlier, changes"
    assert all(one["role"] == "img" and one["aria-label"] for one in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table"))
    targets = {one["id"] for _, one in page.tags if "id" in one}
    assert {one["href"][1:] for one in page.all("a")} <= targets
    ids = [one["id"] for _, one in page.tags if "id" in one]
    assert len(ids) == len(set(ids))
    assert "prefers-color-scheme: dark" in html and "@media print" in html and len(html) < 200_000


def test_same_run_same_decisions_same_bytes(decided, tmp_path):
    first = report.report_bytes(decided)
    assert report.report_bytes(open_run(decided.path)) != b"" and report.report_bytes(decided) == first
    open_reviews(decided).add(finding="outlier:5", sample=5, decision="keep", reviewer="Ann")
    assert report.report_bytes(decided) != first


def test_hostile_text_stays_text(tmp_path):
    home = make_run(tmp_path, classes=(HOSTILE, "a\u202eb & <b>", "plain"), train=12)
    run = at_home(tmp_path)
    (tmp_path / "data").rename(tmp_path / "data<img src=x onerror=alert(1)>")
    run = Run(run.path, {**home.manifest, "dataset": {**home.manifest["dataset"], "source": HOSTILE + "/x.csv"}})
    kept = open_reviews(run)
    for who in (HOSTILE, '" onload="alert(1)'):
        kept.add(
            finding="label_error:1",
            sample=1,
            decision="relabel",
            new_label=run.classes[0],
            reviewer=who,
            comment="]]>--><script>x</script>\u2028 'quoted'",
        )
    html = report.report_bytes(run).decode()
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags} and "window.hacked=1" in page.text
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert html.count("</style>") == 1 and html.count("</title>") == 1
    assert "\u202e" not in html and "'quoted'" in page.text


def test_missing_images_are_said_to_be_missing(decided):
    shutil.rmtree(decided.path.parent / "data" / "images")
    page = read(decided)
    assert not page.all("img") and "The images are not where the audit found them" in page.text
    assert "images/train_001.png: not available" in [one.get("aria-label") for one in page.all("span")]
    gone = Run(decided.path, {**decided.manifest, "dataset": {**decided.manifest["dataset"], "source": None}})
    assert "not known" in read(gone).text


def test_a_broken_image_spares_the_others(decided):
    (decided.path.parent / "data" / "images" / "train_001.png").write_bytes(b"no image")
    assert len(read(decided).all("img")) == 2 + 2 + 2 + 1 + 3 - 2


def test_runs_that_lack_things(tmp_path):
    """An imported run: no network, no margins, no curvature, no embedding; here with one class and nothing found."""
    run = make_run(tmp_path, classes=("only",), train=6)
    samples, scores = run.samples(), run.scores()
    for name in ("aum", "curvature", "trace", "gradient_norm", "outlier", "forgetting", "el2n"):
        scores[name] = np.nan
    run.write_scores(scores.drop(columns="suggested_probability"))
    run.write_findings([], samples)
    (run.path / "duplicates.parquet").unlink()
    manifest = {
        **run.manifest,
        "recording": "imported",
        "asked": {"losses": "my losses.npz"},
        "facts": {},
        "versions": {},
    }
    page = read(Run(run.path, manifest))
    assert "Looked for, and none found: wrong labels." in page.text
    assert (
        "Not looked for, as the run has not what it takes: exact duplicates, near duplicates, outliers, image quality."
        in page.text
    )
    assert "lossprint import 'my losses.npz' --dataset" in page.text and "Nothing was flagged." in page.text
    assert "Losses recorded outside Lossprint" in page.text


def test_many_changes_and_many_classes_are_bounded(tmp_path):
    run = make_run(tmp_path, classes=tuple(f"class {one:03d}" for one in range(70)), train=5, held_out=1)
    rows = [{"finding": f"audit:{one}", "sample": one, "decision": "exclude", "reviewer": "Ann"} for one in range(230)]
    open_reviews(run).add_all(rows)
    page = read(run)
    listed_rows = [row for row in page.rows if row[0].endswith("training") and len(row) == 7]
    assert len(listed_rows) == report.ROWS
    assert "The other 30 are in the file that this command writes: lossprint export changes run" in page.text
    assert ["10 further classes", "50", "10", "10", "70"] in page.rows
    assert ["All", "350", "70", "70", "490"] in page.rows


def test_groups_are_told_by_what_is_odd_about_them(tmp_path):
    run = make_run(tmp_path, classes=("a", "b"), train=10)
    run.write_findings([Finding("duplicate", (0, 2, 4, 6, 8, 20), 1.0)], run.samples())
    said = read(run).text
    assert "Of these, 1 in more than one of training, validation and test." in said
    assert "and 2 further images of this group" in said and "in several splits" in said


# ------------------------------------------------------------------------------------------------- where it goes


def test_it_is_written_whole_and_never_over_the_dataset(run, tmp_path):
    before = digests(run.path.parent / "data")
    out = report.write_report(run, tmp_path / "new" / "r.html")
    assert out.read_bytes().startswith(b"<!doctype html>") and not list(out.parent.glob(".*"))
    report.write_report(run, run.exports / "r.html")
    report.write_report(run, run.path.parent / "data" / "r.html")
    report.write_report(run, run.path.parent / "data" / "r.html")  # an earlier report gives way
    (run.path.parent / "data" / "notes.html").write_text("mine")
    for wrong, why in (
        (run.path.parent / "data" / "notes.html", "an earlier export"),
        (run.path / "r.html", "outside the run folder"),
        (tmp_path / "r.pdf", "ends in .html or .htm"),
        (tmp_path / "new", "ends in .html"),
    ):
        with pytest.raises(LossprintError, match=why):
            report.write_report(run, wrong)
    after = digests(run.path.parent / "data")
    assert before.items() <= after.items() and (run.path.parent / "data" / "notes.html").read_text() == "mine"


def test_not_into_a_folder_of_class_folders(tmp_path):
    run = make_run(tmp_path, kind="folder", train=3, held_out=2)
    with pytest.raises(LossprintError, match="outside the dataset's folder"):
        report.write_report(run, tmp_path / "data" / "train" / "r.html")


def test_the_command(decided, tmp_path, capsys, monkeypatch):
    out = tmp_path / "r.html"
    monkeypatch.setattr(cli_report, "opened", lambda path, dataset: decided)
    assert cli.main(["report", str(decided.path), "--out", str(out), "--apply", "majority"]) == 0
    assert capsys.readouterr().out.startswith(f"report written to {out} (0.")
    assert "what more than half" in out.read_text()


def test_a_half_written_run_is_refused(tmp_path):
    run = make_run(tmp_path, done=False)
    with pytest.raises(LossprintError, match="half written"):
        report.write_report(run, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


# ------------------------------------------------------------------------------------------------- small parts


def test_text_and_numbers():
    assert text("a <b>\n\x00 " + "x" * 200, 20) == "a <b> \ufffd " + "x" * 11 + "…"
    assert css_string('a"</style>') == '"a\\000022\\00003c\\00002fstyle\\00003e"'
    assert day("2026-03-01T10:00:00+00:00") == "1\xa0March 2026" and day("<soon>") == "<soon>"
    assert [percent(one) for one in (0, 0.004, 0.0994, 0.0996, 1)] == [
        "0\xa0%",
        "0.4\xa0%",
        "9.9\xa0%",
        "10\xa0%",
        "100\xa0%",
    ]
    assert listed([]) == "" and listed(["a"]) == "a" and listed(["a", "b", "c"], 2) == "a and 2 others"
    assert listed(["<a>", words.name("<b>")]) == "&lt;a&gt; and <bdi>&lt;b&gt;</bdi>"


def test_a_template_escapes_whatever_it_is_given():
    template = report._environment().from_string("{{ value }}|{{ value|name }}|{{ value|path }}|{{ number }}")
    hostile = "<b>\x00\u202e'&"
    shown = "&lt;b&gt;\ufffd\ufffd&#39;&amp;"
    assert (
        template.render(value=hostile, number=12345)
        == f'{shown}|<bdi>{shown}</bdi>|<bdi class="path">{shown}</bdi>|12,345'
    )
    for file in Path(report.__file__).parent.glob("*.j2"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|Markup", text), f"{file.name} lets something past the escaping"


def test_drawings_break_at_gaps_and_stay_in_their_frame():
    losses = np.array([2.0, np.nan, 1.0, 9.0])
    drawn = svg.loss_print(losses, np.array([1.0, 0.5, 0.25, 0.1]), 4.0, "<cat>")
    line = re.search(r'class="line" d="([^"]+)"', drawn).group(1)
    assert line.count("M") == 2 and "&lt;cat&gt; ends at 0.1" in drawn and "loss 2.0 at first, 9.0 at last" in drawn
    assert min(float(one.split()[1]) for one in re.findall(r"[\d.]+ [\d.]+", line)) >= 0
    assert svg.loss_print(np.full(3, np.nan), None, 1.0, "x") == ""
    curve = svg.yield_curve(np.arange(1, 5001), np.arange(1, 5001) // 2, 100, Interval(40.0, 20.0, 60.0))
    assert "2,500 errors found in 5,000 reviewed suggestions; the next 100 are expected to hold about 40" in curve
    assert len(curve) < 12_000
    assert svg.ticks(0, 187, 5) == [0, 50, 100, 150] and svg.ticks(0.2, 0.9, 4) == [0.2, 0.4, 0.6, 0.8]


def test_large_pictures_are_made_small():
    from PIL import Image

    noise = Image.effect_noise((1500, 1000), 80).convert("RGB")
    assert not picture(noise, 224).tiny and len(picture(noise, 72).uri) < 8_000
    assert picture(noise.resize((TINY, 20)), 72).tiny


def test_pictures_are_made_small_once_the_report_is_full(run, monkeypatch):
    from PIL import Image

    from lossprint.audit.report import pictures

    Image.effect_noise((300, 200), 80).save(run.path.parent / "data" / "noise.jpg")
    monkeypatch.setattr(pictures, "BUDGET", 100_000)
    made = pictures.Pictures(run, dict.fromkeys(range(40), "noise.jpg"), list(range(40)), [1, 2])
    sizes = [len(made.cards[one].uri) for one in range(40)]
    assert sizes[0] > 10_000 and sizes[-1] < 8_000 and sorted(sizes, reverse=True) == sizes
    assert set(made.small) == {1, 2} and made.small[1] == made.cards[39]
