"""What the expert review is worth, how sure its statistics are, how quick its keys are, and whether anything is lost.

    python benchmarks/review.py experts RUN TRUTH.csv [--errors 0.03 0.1] [--cleanlab KEPT.npz [--folds 4]]
    python benchmarks/review.py coverage RUN TRUTH.csv [--errors 0.03 0.1]
    python benchmarks/review.py keys RUN [--decisions 30]
    python benchmarks/review.py sessions RUN [--database sqlite postgresql] [--reviewers 4] [--decisions 200]

  experts   simulated experts who never err, and who give a wrong answer with a chance (keep a wrong label, put another
            wrong one, change a right one), go through the training samples of a run in our order (the review's queue,
            then the rest by the label-error score), in random order and in cleanlab's: the share of the wrong labels
            put right after 5, 10, 20 and 30 % of the samples. cleanlab gets out-of-sample probabilities of the same
            network and recipe, trained once for each fold and kept in the file. The truth is read at the very end
  coverage  the same experts in the review's order, with the random audit mixed in: how often the intervals of "When to
            stop" hold what they are about, at several stopping points
  keys      a real Chromium, 30 decisions by keyboard: from the press of a key to the next image painted, beside an
            empty Streamlit app with one button, by turns
  sessions  a real Chromium, several reviewers at once by keyboard, while the server is killed and started again twice

RUN is copied before decisions are stored. TRUTH.csv has path,is_error. cleanlab needs `pip install '.[bench]'`.
"""

import argparse
import os
import platform
from pathlib import Path

import review_experts
import review_keys
import review_sessions
import review_stopping


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)

    def part(name: str, truth: bool) -> argparse.ArgumentParser:
        one = parts.add_parser(name)
        one.add_argument("run", type=Path)
        if truth:
            one.add_argument("truth", type=Path)
            one.add_argument("--errors", nargs="*", type=float, default=[0.03, 0.1], help="chances of a wrong answer")
            one.add_argument("--simulations", type=int, default=200)
            one.add_argument("--seed", type=int, default=0)
        return one

    one = part("experts", True)
    one.add_argument("--cleanlab", type=Path, metavar="NPZ", help="its probabilities; made where the file is not there")
    one.add_argument("--folds", type=int, default=4)
    one.set_defaults(call=review_experts.experts)
    one = part("coverage", True)
    one.add_argument("--stops", nargs="+", type=int, default=[150, 300, 450, 600, 900], help="numbers of answers")
    one.set_defaults(call=review_stopping.coverage)
    one = part("keys", False)
    one.add_argument("--decisions", type=int, default=30, help="of each tier")
    one.add_argument("--tiers", nargs="+", default=["All tiers", "Look closer"], help="Verify, Correct, ...")
    one.set_defaults(call=review_keys.keys)
    one = part("sessions", False)
    one.add_argument("--database", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    one.add_argument("--reviewers", type=int, default=4)
    one.add_argument("--decisions", type=int, default=200, help="of each reviewer")
    one.add_argument("--kills", type=int, default=2)
    one.set_defaults(call=review_sessions.sessions)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    options.call(options)


if __name__ == "__main__":
    main()
