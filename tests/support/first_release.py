"""A database of decisions as the first release made it."""

from sqlalchemy import text

from lossprint.audit.review.database import Database
from lossprint.audit.review.reviews import run_key

# What the first release created, in its own words.
FIRST_RELEASE = """
CREATE TABLE reviews (id {serial}, run TEXT NOT NULL, finding TEXT NOT NULL, sample BIGINT NOT NULL,
  decision VARCHAR(16) NOT NULL, new_label TEXT, reviewer TEXT NOT NULL, at VARCHAR(40) NOT NULL, comment TEXT NOT NULL,
  undoes INTEGER UNIQUE REFERENCES reviews (id));
CREATE INDEX reviews_by_run ON reviews (run, id);
CREATE TABLE schema_version (component VARCHAR(64) PRIMARY KEY, version INTEGER NOT NULL);
INSERT INTO schema_version VALUES ('reviews', 1)
"""
SERIAL = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "SERIAL PRIMARY KEY"}


def plant_first_release(run, rows: int = 3) -> None:
    """A database of the first release with decisions on samples 0, 1, ..., the last one taken back."""
    with Database(run.reviews_url).engine.connect() as connection:
        for statement in FIRST_RELEASE.format(serial=SERIAL[connection.dialect.name]).split(";"):
            connection.execute(text(statement))
        add = text(
            "INSERT INTO reviews (run, finding, sample, decision, new_label, reviewer, at, comment, undoes) "
            "VALUES (:run, :finding, :sample, :decision, NULL, 'ann', '2026-01-01', 'é', :undoes)"
        )
        for sample in range(rows):
            one = {"run": run_key(run), "finding": f"label_error:{sample}", "sample": sample}
            connection.execute(add, {**one, "decision": "keep", "undoes": None})
        connection.execute(add, {**one, "decision": "undo", "undoes": rows})
        connection.commit()
