"""A study's storage as its driver uses it: a new trial is written whole, and little is read again.

Optuna writes each parameter and each attribute of a new trial in a transaction of its own, and reads all running trials whenever it
is asked for anything. Here a trial that `Study.ask` begins stays in memory until its candidate is decided, and is then created in
one transaction. Of the other trials, only those that wait, new ones and, from time to time, those that other drivers run are read
again. Only Optuna's public interface is used: what is in the database is what Optuna itself writes.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

RUNNING_S = 1.0
"""Seconds after which the trials that other drivers run are read again: with many workers that is most of the reading."""


class NumberTakenError(OptunaError):
    """Somebody who does not wait for a turn has added a trial at the moment at which this driver added one."""


class DriverStorage(BaseStorage):
    """One study in a storage, with the ids of its trials equal to their numbers.

    A driver does everything in a `turn`. It begins with what others have written since the last one. The trial begun in it is
    written when it ends, at a `flush`, or at the end of the turn. Where a turn breaks off, what is in memory is forgotten.

    Args:
        database: where the study is.
        is_shared: whether other drivers may be running trials of the study.
        is_hidden: tells the trials that samplers are not shown.
    """

    def __init__(
        self, database: BaseStorage, *, is_shared: bool = False, is_hidden: Callable[[FrozenTrial], bool] | None = None
    ) -> None:
        self._database = database
        self._is_hidden = is_hidden
        self._is_shared = is_shared
        self._running_read = -math.inf
        """When the running trials were last read, on the monotonic clock."""
        self._study_id: int | None = None
        """The study whose trials are kept, the first that is looked up."""
        self._directions: list[StudyDirection] = []
        self._trials: list[FrozenTrial] = []
        """By their numbers."""
        self._ids: dict[int, int] = {}
        """The database's ids of trials, as far as they are known."""
        self._unfinished: set[int] = set()
        self._begun: FrozenTrial | None = None
        """The trial that is not in the database yet."""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The study is read and written in it.

        Raises:
            StorageInternalError: the database is away.
            NumberTakenError: the turn must be taken again.
        """
        try:
            self._take_in()
            yield
            self.flush()
        except BaseException:
            self._forget()  # memory may be ahead of the database, or behind it
            raise

    def flush(self) -> None:
        """Writes the trial that was begun."""
        trial = self._begun
        if trial is None:
            return
        assert self._study_id is not None
        created = self._database.create_new_trial(self._study_id, trial)
        self._begun = None
        if self._database.get_trial_id_from_study_id_trial_number(self._study_id, trial.number) != created:
            raise NumberTakenError(f"number {trial.number} went to another trial")
        self._ids[trial.number] = created

    @property
    def trials(self) -> Sequence[FrozenTrial]:
        """All trials of the study, by their numbers, as they were at the beginning of the turn or are since."""
        return self._trials

    def refresh(self, number: int) -> None:
        """Reads an unfinished trial again, before something depends on who runs it."""
        if self._is_shared and number in self._unfinished and not self._is_begun(self._trials[number]):
            self._note(self._database.get_trial(self._id_of(number)))

    def _forget(self) -> None:
        self._trials, self._ids, self._unfinished, self._begun = [], {}, set(), None
        self._running_read = -math.inf

    # what others write

    def _load(self, study_id: int) -> None:
        """Reads the study whole, where that has not been done."""
        assert study_id == self._study_id, "a driver has one study"
        if not self._trials:
            for trial in self._database.get_all_trials(study_id, deepcopy=False):
                self._note(trial)

    def _take_in(self) -> None:
        """Reads the trials that are new, wait, or are run by others; what this driver runs belongs to it."""
        if self._study_id is None:
            return
        if not self._trials:
            self._load(self._study_id)
            return
        self._take_in_new()
        states: tuple[TrialState, ...] = (TrialState.WAITING,)
        if self._is_shared and time.monotonic() - self._running_read >= RUNNING_S:
            states, self._running_read = (TrialState.WAITING, TrialState.RUNNING), time.monotonic()
        found = {trial.number: trial for trial in self._database.get_all_trials(self._study_id, False, states)}
        for number in self._unfinished & found.keys():
            self._note(found[number])
        for number in self._unfinished - found.keys():
            if self._trials[number].state in states:  # it is so no longer
                self._note(self._database.get_trial(self._id_of(number)))

    def _take_in_new(self) -> None:
        assert self._study_id is not None
        while True:
            try:
                found = self._database.get_trial_id_from_study_id_trial_number(self._study_id, len(self._trials))
            except KeyError:
                return
            self._ids[len(self._trials)] = found
            self._note(self._database.get_trial(found))

    def _note(self, trial: FrozenTrial) -> None:
        """Takes in a trial as the database has it."""
        number, known = trial.number, _copied(trial)
        if number == len(self._trials):
            self._trials.append(known)
        else:
            self._trials[number] = known
        (self._unfinished.discard if trial.state.is_finished() else self._unfinished.add)(number)

    def _id_of(self, number: int) -> int:
        """The database's id of a trial."""
        assert self._study_id is not None
        if number not in self._ids:
            self._ids[number] = self._database.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._ids[number]

    def _is_begun(self, trial: FrozenTrial) -> bool:
        return self._begun is not None and self._begun.number == trial.number

    def _changing(self, trial_id: int) -> FrozenTrial:
        """A trial that is about to be changed.

        Raises:
            UpdateFinishedTrialError: it has ended.
        """
        trial = self._trials[trial_id]
        self.check_trial_is_updatable(trial_id, trial.state)
        return trial

    # Optuna's interface: trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._load(study_id)
        self.flush()
        if template_trial is None:
            self._note(_begin(len(self._trials)))
            self._begun = self._trials[-1]
            return len(self._trials) - 1
        created = self._database.create_new_trial(study_id, template_trial)
        self._take_in_new()
        return self._database.get_trial(created).number

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        trial = self._changing(trial_id)
        if not self._is_begun(trial):
            self._database.set_trial_param(self._id_of(trial_id), param_name, param_value_internal, distribution)
        elif param_name in trial.distributions:
            check_distribution_compatibility(trial.distributions[param_name], distribution)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._changing(trial_id)
        if not self._is_begun(trial):
            self._database.set_trial_user_attr(self._id_of(trial_id), key, value)
        trial.user_attrs[key] = _as_stored(value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._changing(trial_id)
        if not self._is_begun(trial):
            self._database.set_trial_system_attr(self._id_of(trial_id), key, value)
        trial.system_attrs[key] = _as_stored(value)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        trial = self._changing(trial_id)
        if not self._is_begun(trial):
            self._database.set_trial_intermediate_value(self._id_of(trial_id), step, intermediate_value)
        trial.intermediate_values[step] = intermediate_value

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        trial = self._changing(trial_id)
        if self._is_begun(trial) and state.is_finished():
            trial.state, trial.datetime_complete = state, datetime.now()
            trial.values = None if values is None else list(values)
            self._unfinished.discard(trial_id)
            self.flush()
            return True
        self.flush()
        done = self._database.set_trial_state_values(self._id_of(trial_id), state, values)
        self._note(self._database.get_trial(self._id_of(trial_id)))
        return done

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        self._load(study_id)
        if not 0 <= trial_number < len(self._trials):
            raise KeyError(f"the study has no trial {trial_number}")
        return trial_number

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if not 0 <= trial_id < len(self._trials):
            raise KeyError(f"the study has no trial {trial_id}")
        trial = self._trials[trial_id]
        return trial if trial.state.is_finished() else _copied(trial)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials of the study; of those that samplers are not shown, only the waiting ones, which `Study.ask` takes up."""
        self._load(study_id)
        wanted = tuple(TrialState) if states is None else tuple(state for state in TrialState if state in states)
        if any(state.is_finished() for state in wanted):
            trials = [trial for trial in self._trials if states is None or trial.state in wanted]
        else:
            trials = [self._trials[i] for i in sorted(self._unfinished) if self._trials[i].state in wanted]
        if self._is_hidden is not None and wanted != (TrialState.WAITING,):
            trials = [trial for trial in trials if not self._is_hidden(trial)]
        return copy.deepcopy(trials) if deepcopy else trials

    # Optuna's interface: studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._database.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self._database.delete_study(study_id)
        self._forget()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._database.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._database.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        study_id = self._database.get_study_id_from_name(study_name)
        if self._study_id is None:
            self._study_id = study_id
        return study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._database.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        self._directions = self._directions or self._database.get_study_directions(study_id)
        return self._directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._database.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._database.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[Any]:
        return self._database.get_all_studies()


def _begin(number: int) -> FrozenTrial:
    return FrozenTrial(number, TrialState.RUNNING, None, datetime.now(), None, {}, {}, {}, {}, {}, number)


def _copied(trial: FrozenTrial) -> FrozenTrial:
    """The same trial with its number as its id, and with contents of its own."""
    return FrozenTrial(
        trial.number,
        trial.state,
        None,
        trial.datetime_start,
        trial.datetime_complete,
        dict(trial.params),
        dict(trial.distributions),
        dict(trial.user_attrs),
        dict(trial.system_attrs),
        dict(trial.intermediate_values),
        trial.number,
        values=trial.values,
    )


def _as_stored(value: Any) -> Any:
    """A value as it comes back from a database."""
    return json.loads(json.dumps(value))
