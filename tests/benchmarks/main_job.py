"""The main job, measured: its wall time and that of a plain script, its start, how busy its workers are, its memory.

    python tests/benchmarks/main_job.py [--trials 40] [--repeats 1] [ARGUMENTS of search.run ...]

Everything runs from fresh folders as processes of their own. The rival, `plain_optuna.py`, then trains the same networks. On a busy
machine all figures are worse, and the rival's, whose threads wait for each other, most of all: the load is printed with them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import optuna

from search.trials.reader import read_trials

ROOT = Path(__file__).resolve().parents[2]


class Figures(NamedTuple):
    """What one run of both came to."""

    wall_s: float
    """From the command to its end."""
    start_s: float
    """From the command to the first trial's start."""
    share: float
    """Of the workers' time between the first trial's start and the last one's end, the part inside training."""
    rival_s: float
    """The plain script, from its command to its end."""
    accuracy: float
    """Mean over the trials."""
    rival_accuracy: float
    driver_mb: float
    """Peak resident memory."""
    worker_mb: float
    """Peak resident memory of the largest worker; what it shares with others counts in each."""


def measure(trials: int, workers: int, overrides: list[str]) -> Figures:
    """Runs the main job and the rival once."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["space=shuffle_agg", f"trials={trials}", f"workers={workers}", "study=main_job", *overrides]
        command = [sys.executable, "-m", "search.run", *arguments]
        began, start = datetime.now(), time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
        driver_mb, worker_mb = watch_memory(process)
        wall_s = time.perf_counter() - start
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
        database = Path(folder) / "results" / "main_job" / "study.db"
        study = optuna.load_study(study_name="main_job", storage=f"sqlite:///{database}")
        done = [trial for trial in read_trials(study) if not trial.is_copy and trial.ended]
        first = min(trial.started for trial in done if trial.started)
        last = max(trial.ended for trial in done if trial.ended)
        trained_s = sum(trial.seconds or 0 for trial in done)
        rival = [sys.executable, str(ROOT / "tests/benchmarks/plain_optuna.py"), str(database), "main_job", str(trials)]
        start = time.perf_counter()
        said = subprocess.run(rival, env=environment(), check=True, capture_output=True, text=True).stdout
        rival_s = time.perf_counter() - start
    return Figures(
        wall_s,
        (first - began).total_seconds(),
        trained_s / (workers * (last - first).total_seconds()),
        rival_s,
        statistics.mean(trial.accuracy for trial in done if trial.accuracy is not None),
        float(said),
        driver_mb,
        worker_mb,
    )


def environment() -> dict[str, str]:
    """This process's, with nothing said of threads: both sides have their defaults."""
    kept = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def watch_memory(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Waits for the main job's end; returns the peak memory of its driver and of its largest worker in MB (Linux alone)."""
    driver = worker = 0.0
    while process.poll() is None:
        # driver -> server of workers -> workers
        servers = [pid for pid in children(process.pid) if "forkserver" in read(f"/proc/{pid}/cmdline")]
        driver = max(driver, peak_mb(process.pid))
        worker = max([worker, *(peak_mb(pid) for server in servers for pid in children(server))])
        time.sleep(0.2)
    return driver, worker


def children(pid: int) -> list[int]:
    return [int(child) for child in read(f"/proc/{pid}/task/{pid}/children").split()]


def peak_mb(pid: int) -> float:
    lines = read(f"/proc/{pid}/status").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # the process has ended
        return ""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=1)
    arguments, overrides = parser.parse_known_args()
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for _ in range(arguments.repeats):
        before = os.getloadavg()[0]
        figures = measure(arguments.trials, workers, overrides)
        print(f"{arguments.trials} trials, {workers} workers; load before {before:.1f}, after {os.getloadavg()[0]:.1f}")
        print(f"main job                    {figures.wall_s:8.1f} s (goal for 40 trials on 2 cores: under 180)")
        print(f"command to first trial      {figures.start_s:8.1f} s (goal 8)")
        print(f"workers inside training     {figures.share:8.1%}   (goal 90%)")
        print(f"plain Optuna and DataLoader {figures.rival_s:8.1f} s")
        print(f"ratio                       {figures.rival_s / figures.wall_s:8.2f}   (goal 2)")
        print(f"mean accuracy               {figures.accuracy:8.2%}   (plain {figures.rival_accuracy:.2%})")
        print(f"peak memory                 {figures.driver_mb:8.0f} MB driver, {figures.worker_mb:.0f} MB a worker")


if __name__ == "__main__":
    main()
