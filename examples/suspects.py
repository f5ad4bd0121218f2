"""What all examples end with: score the run, and print the samples whose labels, targets or texts are most suspect."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from lossprint.audit.workflow import score


def print_suspects(out: str, planted: Collection[str], most: int = 5) -> None:
    """Score the run and print its most suspect samples; `planted` are the paths of those that are wrong for sure.

    How many of the planted ones are among as many of the most suspect tells how well they were found; by chance it
    would be their share of the training samples.
    """
    run = score(out)
    scores = run.scores().sort_values("label_error", ascending=False)
    top = scores.head(most)
    print(f"\nThe {most} most suspect of {len(scores):,} training samples:")
    for row in top.itertuples():
        instead = f", rather {row.suggested_label}" if isinstance(row.suggested_label, str) else ""
        truly = "planted" if row.path in planted else "not planted"
        print(f"  {row.path}: {row.label}{instead} (severity {row.label_error:.2f}, {truly})")
    wrong = scores["path"].isin(planted)
    found = int(wrong.head(int(wrong.sum())).sum())
    print(f"{found} of the {wrong.sum()} planted errors are among the {wrong.sum()} most suspect", end=", ")
    print(f"{wrong.mean() * wrong.sum():.1f} would be by chance. Next: lossprint app {out}")


def demo_truth(manifest: str) -> set[str]:
    """The paths of the demo's planted wrong labels."""
    truth = pd.read_csv(Path(manifest).with_name("truth.csv"))
    return set(truth.loc[truth["is_error"] == 1, "path"])
