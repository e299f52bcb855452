"""The studies that a dashboard shows, read again when something has happened in them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import optuna
from optuna.trial import TrialState

from search.reporting.page import StudyPage
from search.reporting.reading import read_record
from search.trials.storage import DATABASE, open_study, open_to_read
from spaces.errors import InputError


@dataclass
class _Opened:
    """A study's storage, and the last page that was made of it."""

    study: optuna.Study
    place: tuple[int, int] | None
    """What tells its file from another of the same name."""
    revision: str = ""
    page: StudyPage | None = None


class Studies:
    """Studies by name. Reads alone; safe to call from several threads.

    Args:
        results_dir: the folder that holds the studies.
        url: of the Optuna storage they were given; None: the SQLite file in each study's folder.
    """

    def __init__(self, results_dir: Path, url: str | None = None) -> None:
        self._results_dir = results_dir
        self._url = url
        self._opened: dict[str, _Opened] = {}
        self._lock = RLock()

    def names(self) -> list[str]:
        """All that can be shown, the ones that changed last first."""
        if self._url is None:
            files = [path for path in self._results_dir.glob(f"*/{DATABASE}") if self._is_below(path)]
            return [path.parent.name for path in sorted(files, key=_last_change, reverse=True)]
        with self._lock:
            return sorted(optuna.get_all_study_names(open_to_read(self._results_dir, self._url)))

    def check(self, name: str) -> None:
        """Finds out whether a study can be shown.

        Raises:
            InputError: it does not exist, or was not made by this project.
        """
        self.page(name)

    def revision(self, name: str) -> str:
        """A text that changes when the study does.

        Raises:
            InputError: there is no such study.
        """
        with self._lock:
            study = self._open(name).study
            states = [trial.state for trial in study.get_trials(deepcopy=False)]
            counts = [sum(state is kind for state in states) for kind in TrialState]
            return hashlib.sha256(repr((counts, sorted(study.user_attrs.items()))).encode()).hexdigest()[:16]

    def page(self, name: str) -> StudyPage:
        """The study as it is now; the same object as long as nothing changes.

        Raises:
            InputError: it does not exist, or was not made by this project.
        """
        with self._lock:
            opened = self._open(name)
            revision = self.revision(name)
            if opened.page is None or opened.revision != revision:
                opened.page = StudyPage(read_record(opened.study), self._results_dir / name)
                opened.revision = revision
            return opened.page

    def _open(self, name: str) -> _Opened:
        place = self._place(name)
        known = self._opened.get(name)
        if known is None or known.place != place:  # its folder was taken away, maybe for another of the same name
            self._opened.pop(name, None)
            known = _Opened(open_study(self._results_dir / name, self._url, name), place)
            self._opened[name] = known
        return known

    def _place(self, name: object) -> tuple[int, int] | None:
        """What tells a study's file from others, as the system numbers files; None where there is no file.

        Raises:
            InputError: the name is none of a folder directly below the results folder; a browser may ask for anything.
        """
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & {"/", "\\", "\0"}:
            raise InputError(f"study: {ascii(name)[:200]} is not the name of a study, which is that of one folder")
        if self._url is not None:
            return None
        file = self._results_dir / name / DATABASE
        try:
            found = file.stat()
        except FileNotFoundError:
            return None  # whoever opens it names the nearest
        except (OSError, ValueError) as error:  # too long for a system's names, or not of its characters
            raise InputError(f"study: there is no study {ascii(name)[:200]} in {self._results_dir}") from error
        if not self._is_below(file):
            raise InputError(
                f"study: {ascii(name)[:200]} leads out of {self._results_dir}; only studies in it are shown"
            )
        return found.st_dev, found.st_ino

    def _is_below(self, file: Path) -> bool:
        """Whether a database, links followed, lies in a folder of the results folder."""
        return file.resolve().parent.parent == self._results_dir.resolve()


def _last_change(database: Path) -> float:
    """When a SQLite study was last written, its log included."""
    files = (database, database.with_name(f"{DATABASE}-wal"))
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
