"""The lock on a run folder, at the end of a process that never let it go."""

import subprocess
import sys

from helpers import make_run


def test_a_loop_that_ends_without_finish_leaves_no_noise(tmp_path):
    run = make_run(tmp_path / "made")
    source = run.manifest["dataset"]["source"]
    script = tmp_path / "loop.py"
    script.write_text(f"""
import numpy as np
import torch
from torch.nn import functional as F
from lossprint.audit import Recorder
recorder = Recorder({str(tmp_path / "run")!r}, {source!r})
ids = np.arange({int((run.samples()["split"] != "test").sum())})
recorder.update(ids, torch.ones(len(ids)))
recorder.end_checkpoint(1)
# the training dies here: nobody calls finish()
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0 and "ignored" not in done.stderr, done.stderr
