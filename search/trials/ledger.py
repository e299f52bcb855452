"""A study's storage as its driver uses it: what is said of a trial is written together, and read again only if another changed it.

Optuna's own storage writes each parameter and each attribute in a transaction of its own and reads all that is running whenever it
is asked for anything: with 64 workers a tenth of a second a trial, nearly all of it there. The tables stay Optuna's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Table, insert, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

_TRIALS: Table = models.TrialModel.__table__
_PARAMETERS: Table = models.TrialParamModel.__table__
_VALUES: Table = models.TrialValueModel.__table__
_USER_ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
_SYSTEM_ATTRIBUTES: Table = models.TrialSystemAttributeModel.__table__
_UPSERTS: dict[str, Callable[[Table], Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


@dataclass
class _Unwritten:
    """What was said of a trial and is not in the database yet, as rows of its tables."""

    parameters: list[dict[str, Any]] = field(default_factory=list)
    user_attributes: dict[str, str] = field(default_factory=dict)
    system_attributes: dict[str, str] = field(default_factory=dict)


class Ledger(BaseStorage):
    """One study in a database.

    Everything happens in a `turn`. It begins with what others have written since the last one; what is said of a trial in it goes
    to the database when the trial's state changes, at a `flush`, or at its end. Where a turn breaks off, what was not written is
    forgotten.

    Args:
        database: where the study is; SQLite or PostgreSQL.
    """

    def __init__(self, database: RDBStorage) -> None:
        self._database = database
        self._study_id: int | None = None
        """Of the one study whose trials are kept, the first that is asked about."""
        self._directions: list[StudyDirection] | None = None
        self._forget()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """In which the study is read and written.

        Raises:
            StorageInternalError: the database is away.
        """
        try:
            self._take_in()
            yield
            self.flush()
        except BaseException:
            self._forget()  # memory may be ahead of the database, or behind it
            raise

    def flush(self) -> None:
        """Writes what was said of trials so far."""
        for trial_id in list(self._unwritten):
            self._write(trial_id)

    def _forget(self) -> None:
        self._trials: dict[int, FrozenTrial] = {}
        """By their ids, rising, and so by their numbers."""
        self._ids: list[int] = []
        """By their numbers."""
        self._unfinished: set[int] = set()
        self._distributions: dict[str, BaseDistribution] = {}
        self._unwritten: dict[int, _Unwritten] = {}

    # what others write

    def _load(self, study_id: int) -> None:
        """Reads a study whole, where that has not been done."""
        if self._study_id is None:
            self._study_id = study_id
        if study_id == self._study_id and not self._ids:
            for trial in self._database.get_all_trials(study_id, deepcopy=False):
                self._note(trial)

    def _take_in(self) -> None:
        """Reads the trials that are new or whose state is another: in between, a trial belongs to the driver that runs it."""
        if self._study_id is None:
            return
        if not self._ids:
            self._load(self._study_id)
            return
        columns = select(_TRIALS.c.trial_id, _TRIALS.c.state, _TRIALS.c.datetime_start)
        # By their ids alone, also past new ones of other studies: where it can go by the study, SQLite reads all trials of that.
        in_study = _TRIALS.c.study_id + 0 == self._study_id
        new = columns.where(in_study, _TRIALS.c.trial_id > self._ids[-1])
        unfinished = columns.where(_TRIALS.c.trial_id.in_(self._unfinished))
        with self._transaction() as connection:
            rows = connection.execute(union_all(unfinished, new)).all()
        for trial_id, state, started in sorted(rows):
            known = self._trials.get(trial_id)
            # a trial that was queued again and taken by another driver meanwhile has begun anew
            if known is None or (known.state, known.datetime_start) != (state, _local(started)):
                self._note(self._database.get_trial(trial_id))

    def _note(self, trial: FrozenTrial) -> None:
        """Takes in a trial as the database has it."""
        trial_id = trial._trial_id
        if trial_id not in self._trials:
            self._ids.append(trial_id)
        self._trials[trial_id] = trial
        for name, distribution in trial.distributions.items():
            self._distributions.setdefault(name, distribution)
        (self._unfinished.discard if trial.state.is_finished() else self._unfinished.add)(trial_id)

    # what this driver writes

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._database.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageInternalError("the database cannot be used") from error

    def _write(self, trial_id: int, state: TrialState | None = None, values: Sequence[float] | None = None) -> None:
        """Writes all that was said of a trial, and how it ended where it has, in one transaction."""
        said = self._unwritten.get(trial_id, _Unwritten())
        ended = datetime.now(UTC).replace(tzinfo=None)  # as Optuna keeps it
        with self._transaction() as connection:
            if said.parameters:
                connection.execute(insert(_PARAMETERS), said.parameters)
            self._write_attributes(connection, _USER_ATTRIBUTES, trial_id, said.user_attributes)
            self._write_attributes(connection, _SYSTEM_ATTRIBUTES, trial_id, said.system_attributes)
            if state is not None:
                self._write_end(connection, trial_id, state, values, ended)
        self._unwritten.pop(trial_id, None)
        if state is not None:
            trial = self._trials[trial_id] = _snapshot(self._trials[trial_id])
            trial.state, trial.datetime_complete = state, _local(ended)
            trial.values = None if values is None else list(values)
            self._unfinished.discard(trial_id)

    def _write_attributes(
        self, connection: Connection, table: Table, trial_id: int, attributes: dict[str, str]
    ) -> None:
        if not attributes:
            return
        statement = _UPSERTS[connection.dialect.name](table)
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.trial_id, table.c.key], set_={"value_json": statement.excluded.value_json}
        )
        rows = [{"trial_id": trial_id, "key": key, "value_json": value} for key, value in attributes.items()]
        connection.execute(statement, rows)

    def _write_end(
        self,
        connection: Connection,
        trial_id: int,
        state: TrialState,
        values: Sequence[float] | None,
        ended: datetime,
    ) -> None:
        unfinished = [known for known in TrialState if not known.is_finished()]
        statement = update(_TRIALS).where(_TRIALS.c.trial_id == trial_id, _TRIALS.c.state.in_(unfinished))
        if not connection.execute(statement.values(state=state, datetime_complete=ended)).rowcount:
            raise UpdateFinishedTrialError(f"trial {self._trials[trial_id].number} has been finished by somebody else")
        rows = []
        for objective, value in enumerate(values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            rows.append({"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind})
        if rows:
            connection.execute(insert(_VALUES), rows)

    def _changing(self, trial_id: int) -> tuple[FrozenTrial, _Unwritten]:
        """A trial of which something is about to be said.

        Raises:
            KeyError: there is none.
            UpdateFinishedTrialError: it is finished.
        """
        trial = self._trials[trial_id]
        self.check_trial_is_updatable(trial_id, trial.state)
        return trial, self._unwritten.setdefault(trial_id, _Unwritten())

    # Optuna's interface: trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._load(study_id)
        trial = self._database._create_new_trial(study_id, template_trial)
        self._note(trial)
        return trial._trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        trial, unwritten = self._changing(trial_id)
        check_distribution_compatibility(self._distributions.setdefault(param_name, distribution), distribution)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution
        row = {"trial_id": trial_id, "param_name": param_name, "param_value": param_value_internal}
        unwritten.parameters.append({**row, "distribution_json": distribution_to_json(distribution)})

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial, unwritten = self._changing(trial_id)
        unwritten.user_attributes[key] = json.dumps(value)
        trial.user_attrs[key] = json.loads(unwritten.user_attributes[key])  # as it will come back

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial, unwritten = self._changing(trial_id)
        unwritten.system_attributes[key] = json.dumps(value)
        trial.system_attrs[key] = json.loads(unwritten.system_attributes[key])

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._changing(trial_id)[0].intermediate_values[step] = intermediate_value
        self._database.set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._changing(trial_id)
        if state.is_finished():
            self._write(trial_id, state, values)
            return True
        self._write(trial_id)
        done = self._database.set_trial_state_values(trial_id, state, values)
        self._note(self._database.get_trial(trial_id))
        return done

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        if study_id == self._study_id and 0 <= trial_number < len(self._ids):
            return self._ids[trial_number]
        return self._database.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = self._trials.get(trial_id)
        if trial is None:
            return self._database.get_trial(trial_id)
        return trial if trial.state.is_finished() else _snapshot(trial)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        self._load(study_id)
        if study_id != self._study_id:
            return self._database.get_all_trials(study_id, deepcopy, states)
        if states is None:
            trials = list(self._trials.values())
        elif any(state.is_finished() and state in states for state in TrialState):
            trials = [trial for trial in self._trials.values() if trial.state in states]
        else:
            trials = [self._trials[i] for i in sorted(self._unfinished) if self._trials[i].state in states]
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
        return self._database.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._database.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        if self._directions is None:
            self._directions = self._database.get_study_directions(study_id)
        return self._directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._database.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._database.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._database.get_all_studies()


def _snapshot(trial: FrozenTrial) -> FrozenTrial:
    """A trial that does not change as the ledger's does."""
    taken = copy.copy(trial)
    for name in ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values"):
        setattr(taken, name, dict(getattr(trial, name)))
    return taken


def _local(stored: datetime | None) -> datetime | None:
    """A time as Optuna's trials have it, from what is stored: in UTC, without saying so."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
