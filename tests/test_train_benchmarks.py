"""The training benchmark for GPUs runs from end to end, also where there is no GPU."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def output_of(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_everything_about_training_on_a_gpu_also_runs_on_a_cpu():
    printed = output_of("gpu.py", "--device", "cpu", "--tiny", "--no-compile")
    rows = {line.split("  ")[0]: line.split() for line in printed.splitlines() if line}
    assert rows["weights after 5 steps, run again"][-1] == "0.00%"
    assert float(rows["weights after 5 steps, recorded as a CUDA graph"][-1].rstrip("%")) < 5
    assert float(rows["first gradient of the generator, bfloat16"][-1].rstrip("%")) < 30
    for step in ("plain port", "authors, bfloat16, graph", "fast recipe, graph"):
        assert float(rows[step][-7]) > 0
    assert {"float32", "tf32", "bfloat16"} <= rows.keys()
