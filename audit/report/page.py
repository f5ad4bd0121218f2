"""The report of a run: one HTML file on what was audited, found and decided, for a data sheet or an ethics file.

It needs no network and no script, and prints well. There is no clock in it: the same run and the same decisions give
the same bytes, and its date is that of the last decision, or of the run where there is none.
"""

from pathlib import Path

from lossprint.audit.export import outfile
from lossprint.audit.export.tree import dataset_root
from lossprint.audit.report import about, decided, facts, found, left, spans
from lossprint.audit.report.facts import ROWS, Facts
from lossprint.audit.report.html import MONTHS, text
from lossprint.audit.report.pictures import Pictures
from lossprint.audit.report.style import style
from lossprint.audit.review.reviews import Reviews, open_reviews
from lossprint.audit.runs.run import Run
from lossprint.audit.types import LossprintError

MARK = '<!doctype html>\n<html lang="en">\n<!-- lossprint report -->\n'  # how each report starts
ENDINGS = (".html", ".htm")
CONTENTS = {
    "audited": "What was audited",
    "how": "How it was audited",
    "found": "What was found",
    "decided": "What was decided, and by whom",
    "agreement": "Reviewer agreement",
    "left": "Errors found, and errors left",
    "comparison": "Before and after",
    "limits": "What this audit cannot tell",
    "again": "How to do it again",
    "changes": "Every change",
}


def write_report(run: Run, out: str | Path, *, rule: str = "latest", reviews: Reviews | None = None) -> Path:
    """Write the report of a run as FILE.html, whole or not at all; an earlier report there is replaced.

    `rule` says whose decisions hold: one of `resolve.RULES`, or `reviewer:NAME`. Raises LossprintError for an unknown
    rule, a run that is damaged or half written, another kind of file name, and a place in the run folder (but for its
    exports/) or in the dataset: any of its class folders, or a file beside its manifest that is no earlier report.
    """
    out = Path(out)
    refuse(run, out)
    outfile.write(out, report_bytes(run, rule=rule, reviews=reviews))
    return out


def report_bytes(run: Run, *, rule: str = "latest", reviews: Reviews | None = None) -> bytes:
    """The report of a run, as `write_report` writes it."""
    of = facts.gather(run, reviews or open_reviews(run), rule)
    return _page(of, _pictures(of)).encode("utf-8")


def refuse(run: Run, out: Path) -> None:
    """Raise LossprintError where a report must not be written."""

    def earlier(path: Path) -> bool:
        with open(path, "rb") as file:
            return file.read(len(MARK)) == MARK.encode()

    outfile.refuse(run, out, ENDINGS, earlier)
    root = dataset_root(run)
    if root and run.manifest["dataset"].get("kind") == "folder" and out.resolve().is_relative_to(root):
        raise LossprintError(f"expected a file outside the dataset's folder ({root}), found {out}")


def _pictures(of: Facts) -> Pictures:
    cards = of.worst[of.worst["kind"].isin(("label_error", "outlier"))]["sample"].tolist()
    groups = of.worst[~of.worst["kind"].isin(("label_error", "outlier"))]
    cards += groups.groupby(["kind", "rank"], observed=True).head(facts.MEMBERS)["sample"].tolist()
    cards += spans.pictured(of)
    small = of.changed.index[~of.by_segment][:ROWS].tolist()
    known = of.samples.loc[sorted({*cards, *small}), "path"].astype(object)
    return Pictures(of.run, {int(sample): str(path) for sample, path in known.items()}, cards, small)


def _page(of: Facts, pictures: Pictures) -> str:
    cleaned = about.export_command(of, "cleaned", "cleaned.csv")
    changes = about.export_command(of, "changes", "changes.csv")
    title = f"Audit report: {about.dataset_name(of)}"
    links = "".join(f'<li><a href="#{key}">{words}</a></li>' for key, words in CONTENTS.items())
    body = [
        f"<header>{about.head(of)}</header>",
        "<main>",
        about.summary(of),
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>',
        about.audited(of),
        about.how(of),
        found.found(of, pictures),
        decided.decided(of),
        decided.agreement(of),
        left.left(of),
        left.comparison(of, cleaned, about.compare_command(of)),
        about.limits(of),
        about.reproduce(of),
        decided.every_change(of, pictures, changes),
        "</main>",
        "<footer>Made with Lossprint. This file is complete in itself: it loads nothing and runs nothing.</footer>",
    ]
    # Nothing is to be loaded or run, whatever the dataset's own texts hold.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'{MARK}<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{style(title, _date(of.date))}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _date(at: str) -> str:
    """The day of an ISO time for the printed page's head, such as 25 November 2026."""
    year, _, rest = at[:10].partition("-")
    month, _, day = rest.partition("-")
    known = month.isdigit() and day.isdigit() and 1 <= int(month) <= 12
    return f"{int(day)} {MONTHS[int(month) - 1]} {year}" if known else at[:10]
