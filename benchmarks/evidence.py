"""Whether the partners that a page shows beside a doubted label tell which label is true.

    python benchmarks/evidence.py RUN TRUTH.csv

TRUTH.csv has path,true_label,is_error. The audit never reads it. Prints, for the training samples with a wrong label
and for those of them that are flagged, how many in a hundred of the partners carry the true label and the given one: of
each scope (all classes, the class of the given label) and side (aligned, conflicting), those that earn its name; and
how often most partners of a sample carry the true label. Last the same for the samples flagged without being wrong.
"""

import argparse

import numpy as np
import pandas as pd

from lossprint.audit import open_run

SIDES = [("all", "conflicting"), ("all", "aligned"), ("class", "conflicting"), ("class", "aligned")]


def partners(run, truth: pd.DataFrame) -> pd.DataFrame:
    """One row a partner: sample, scope, side, its label, and of the sample both labels and whether it is flagged."""
    samples = run.samples().set_index("sample")
    findings = run.findings()
    flagged = set(findings.loc[findings["kind"] == "label_error", "sample"])
    pairs = run.pairs()
    aligned = pairs["side"] == "aligned"
    pairs = pairs[(aligned & (pairs["correlation"] > 0)) | (~aligned & (pairs["correlation"] < 0))]
    known = truth.reindex(samples["path"]).set_index(samples.index)
    return pd.DataFrame(
        {
            "sample": pairs["sample"],
            "scope": pairs["scope"],
            "side": pairs["side"],
            "label": samples["label"].reindex(pairs["partner"]).to_numpy(object),
            "given": samples["label"].reindex(pairs["sample"]).to_numpy(object),
            "true": known["true_label"].reindex(pairs["sample"]).to_numpy(object),
            "wrong": known["is_error"].reindex(pairs["sample"]).astype(float).to_numpy() == 1,
            "flagged": pairs["sample"].isin(flagged),
        }
    )


def shares(rows: pd.DataFrame) -> list[str]:
    """A line a scope and side: partners with the true label, with the given one, samples where most have the true."""
    lines = []
    for scope, side in SIDES:
        part = rows[(rows["scope"] == scope) & (rows["side"] == side)]
        if part.empty:
            continue
        true, given = part["label"] == part["true"], part["label"] == part["given"]
        most = true.groupby(part["sample"]).mean() > 0.5
        percents = " ".join(f"{100 * share.mean():5.1f} %" for share in (true, given, most))
        lines.append(f"{scope + ', ' + side:<20} {percents} {part['sample'].nunique():8,}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("truth")
    options = parser.parse_args()
    truth = pd.read_csv(options.truth, dtype=str, keep_default_na=False).set_index("path")
    rows = partners(open_run(options.run), truth)
    wrong, flagged = rows["wrong"].to_numpy(bool), rows["flagged"].to_numpy(bool)
    for title, chosen in (
        ("wrong labels", wrong),
        ("wrong labels that are flagged", wrong & flagged),
        ("flagged, and not wrong", flagged & ~wrong),
    ):
        if not np.any(chosen):
            continue
        print(f"{title}\n{'partners':<20} {'true':>7} {'given':>7} {'most':>7} {'samples':>8}")
        print("\n".join(shares(rows[chosen])))


if __name__ == "__main__":
    main()
