"""Commands where the machine is not as it should be: places, output, memory, signals. Each ends in order and in one sentence."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.trials.storage import DATABASE
from tests.search.reporting.dashboard.test_app import start_study

from .test_run import ENDLESS, QUICK, finished, home, start, wait_for  # noqa: F401  a fixture

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True, errors="replace",
        **options,  # type: ignore[call-overload, no-any-return]
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in whose results is a study, `small`."""
    folder = tmp_path_factory.mktemp("places")
    start_study(folder / "results", "small", 0, trials=3)
    return folder


def one_line(process: subprocess.CompletedProcess[str], said: str, status: int = 2) -> None:
    assert process.returncode == status, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_output_that_cannot_be_written_is_told_in_one_line(study: Path) -> None:
    with open("/dev/full", "w") as full:
        one_line(command("search.report", "study=small", cwd=study, stdout=full), "No space left on device")
        one_line(command("search.report", "--help", cwd=study, stdout=full), "No space left on device")


def test_a_pipe_whose_reader_has_left_ends_a_command_without_a_traceback(study: Path) -> None:
    for arguments in (["search.report", "study=small"], ["search.report", "--help"], ["search.report", "--cfg", "job"]):
        reader, writer = os.pipe()
        os.close(reader)
        process = command(*arguments, cwd=study, stdout=writer)
        os.close(writer)
        assert "Traceback" not in process.stderr
        assert "Exception ignored" not in process.stderr
        assert len(process.stderr.splitlines()) <= 1


def test_closed_output_is_no_fault(study: Path) -> None:
    process = command("search.report", "study=small", cwd=study, preexec_fn=lambda: os.close(1))
    assert (process.returncode, process.stderr) == (0, "")


def test_a_current_directory_that_is_gone_is_told_in_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    process = command("search.report", "study=small", cwd=gone, preexec_fn=gone.rmdir)
    one_line(process, "the current directory cannot be used (No such file or directory)")


def test_too_little_address_space_is_told_in_one_line(study: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000))

    for module in ("search.report", "search.run", "search.pick"):
        one_line(command(module, "study=small", cwd=study, preexec_fn=limit), "raise the limit (ulimit -v)")


def test_a_locale_without_a_paths_signs_is_told_in_one_line(study: Path) -> None:
    environment = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    process = command("search.report", "study=größe", "results_dir=größe", cwd=study, env=environment)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr


def test_a_closed_terminal_ends_a_search_in_order(home: Path) -> None:  # noqa: F811
    process = start(home, *ENDLESS)
    wait_for(process, home / "results" / "quick", 1, TrialState.RUNNING)
    os.killpg(process.pid, signal.SIGHUP)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert (home / "results" / "quick" / "pareto.html").exists()
    assert finished(home / "results" / "quick") == {}


def test_a_study_deleted_amid_its_search_is_no_success(home: Path) -> None:  # noqa: F811
    process = start(home, *ENDLESS)
    folder = home / "results" / "quick"
    wait_for(process, folder, 1, TrialState.RUNNING)
    shutil.rmtree(folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2, out + err
    assert "was deleted or replaced" in err
    assert "Traceback" not in out + err
    assert not (folder / DATABASE).exists()


def test_what_a_killed_search_leaves_is_cleared_by_the_next(
    home: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's path is bounded
        monkeypatch.setenv("TMPDIR", short)
        process = start(home, *ENDLESS)
        wait_for(process, home / "results" / "quick", 1, TrialState.RUNNING)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert {path.name[:5] for path in Path(short).iterdir()} >= {"pymp-"}
        left = {path.name for path in Path(short).iterdir()}
        time.sleep(1)
        process = start(home, *QUICK, "trials=1", "workers=1")
        out, err = process.communicate(timeout=240)
        assert "was started with another config" in err or process.returncode == 0, out + err
        assert not left & {path.name for path in Path(short).iterdir()}
