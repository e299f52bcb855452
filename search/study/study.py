"""Ask, tell, resume: the only part that writes a study's storage.

The Optuna storage is the one truth. What `ask` hands out is recorded as running, what `tell` takes is finished and never changes
again; tables, front and page are derived from it at any time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from search.evaluation.outcome import Outcome
from search.latency.device import in_words
from search.latency.measuring import Measurement
from search.objective.costs import CostError, Costs
from search.objective.reward import Objective
from search.samplers.base import SpaceSampler
from search.samplers.fidelity import Curve
from search.samplers.pool import MAX_ENUMERATED, enumerate_decisions
from search.study.confirming import to_confirm
from search.study.enqueuing import Enqueued, enqueue
from search.study.founding import open_or_found
from search.trials.driver_storage import DriverStorage, NumberTakenError
from search.trials.leases import PATIENCE_S, STORAGE_ERRORS, Alone, Leases, patiently
from search.trials.reader import Reader, is_outside, read_learnt, read_trials
from search.trials.trial import State, StoredTrial
from search.trials.writer import (
    write_confirmations,
    write_decided,
    write_driver,
    write_duplicate,
    write_infeasible,
    write_measured,
    write_no_candidate,
    write_result,
)
from spaces import Architecture, Candidate, Decision, InputError, SearchSpace, decode
from spaces.values import Choice, Float, Value

MAX_DUPLICATES = 100
"""Proposals in a row that have all been evaluated before, after which the search ends."""
MAX_INFEASIBLE = 1000
"""Proposals in a row outside the hard limits, after which the search ends."""

ASK_AGAIN_S = 1.0
"""How often a driver that has nothing to do looks whether another has left it something."""

T = TypeVar("T")

_OPTUNA_STATES = {
    "complete": TrialState.COMPLETE,
    "infeasible": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
METRICS = "metrics"
"""The study's attribute with the units of its metrics by name."""


@dataclass(frozen=True)
class Proposal:
    """A candidate to train."""

    number: int
    """Of its trial."""
    candidate: Candidate
    costs: dict[str, float]
    default_epochs: int = 1

    @property
    def epochs(self) -> int:
        """Epochs of its evaluation; `default_epochs` where its hyperparameters do not say."""
        return int(self.candidate.hyperparameters.get("epochs", self.default_epochs))


class Study:
    """One search: a space, an objective and a sampler over a storage.

    Opening it creates the study or resumes it: finished trials stay, interrupted ones wait to run again under their number.

    Args:
        space: where candidates come from.
        objective: what is looked for; a range of targets that is still open is found here, and stays with the study.
        sampler: proposes decisions.
        storage: the only truth about the study.
        name: of the study in the storage.
        trials: how many candidates to evaluate in all; duplicates of evaluated ones do not count.
        costs: prices candidates; a trial keeps what it was priced at.
        facts: what else the study keeps from its beginning, by name.
        config: what defines the study, its objective at least, which is the default; a resumed study is compared with it.
        leases: the drivers of the study; this one alone by default.
        enqueued: networks to evaluate first; those that were enqueued before are not again.
        epochs: of an evaluation whose hyperparameters state none.

    Raises:
        InputError: the study exists with another config, or no architecture meets the hard limits.
    """

    def __init__(
        self,
        space: SearchSpace,
        objective: Objective,
        sampler: BaseSampler,
        storage: BaseStorage,
        *,
        name: str = "study",
        trials: int,
        costs: Costs | None = None,
        facts: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        leases: Leases | None = None,
        enqueued: Sequence[Enqueued] = (),
        epochs: int = 1,
    ) -> None:
        self.space = space
        self._epochs = epochs
        self._leases = leases or Alone()
        self.say: Callable[[str], None] = lambda text: None
        """Told in a sentence what happens besides trials that end."""
        self.give_up: Callable[[], bool] = lambda: False
        """Whether to stop waiting for a storage that is away."""
        self._costs = Costs(wanted=(objective.cost, *objective.limits)) if costs is None else costs
        # Optuna's samplers look for the decisions that all trials share: they see none that has not been decided in the space
        hidden = None if isinstance(sampler, SpaceSampler) else is_outside
        self._storage = DriverStorage(storage, is_shared=self._leases.shared, is_hidden=hidden)
        self._reader = Reader()
        self.trials = trials
        self.stopped_early: str | None = None
        """Why no more candidates are proposed before `trials` are reached."""
        config = {"objective": objective.to_config()} if config is None else config
        with self._leases.turn():
            self._study = open_or_found(
                self._storage, name, sampler, space, objective, self._costs, facts or {}, config
            )
        self._optuna_study = optuna.load_study(study_name=name, storage=storage)
        self.reference: dict[str, Any] = self._study.user_attrs["reference"]
        self.objective = objective.resolve(self.reference["cost_range"][objective.cost])
        if isinstance(sampler, SpaceSampler):
            sampler.bind(space, self.objective, self._costs)
        self._trains_differ = any(decision.name.startswith("train.") for decision in space.decisions)
        self._running: dict[int, Proposal] = {}
        self._evaluated: dict[str, int] = {}
        self._copies: dict[int, list[int]] = {}
        self._curves: dict[int, Curve] = {}
        self._foreign: dict[int, bool] = {}
        self._counted: set[int] = set()
        """Finished trials that are in the counts."""
        self._unsettled: set[int] = set()
        """Trials that were unfinished when last looked at."""
        self._num_seen = 0
        """Trials that were there then."""
        self._num_done = self._num_duplicates = self._num_elsewhere = 0
        self._stale = True
        """Whether the storage may hold what is not known here: other drivers', or what a failed write left."""
        self._idle_until = 0.0
        self._patiently(self._catch_up)
        self._patiently(lambda: enqueue(self._optuna_study, enqueued, space))

    @property
    def optuna_study(self) -> optuna.Study:
        """The study as anybody else reads it in its storage."""
        return self._optuna_study

    @property
    def num_done(self) -> int:
        """Evaluated candidates: complete, stopped or failed; neither duplicates nor infeasible ones."""
        return self._num_done

    @property
    def num_duplicates(self) -> int:
        """Finished trials that repeat another."""
        return self._num_duplicates

    @property
    def num_enqueued(self) -> int:
        """Enqueued networks that still wait for their turn."""
        return sum(trial.enqueued is not None for trial in self._stored() if trial.state is State.WAITING)

    def finished(self) -> Iterator[tuple[Outcome, dict[str, float]]]:
        """What the evaluated candidates came to, with their costs; neither duplicates nor infeasible ones."""
        for trial in self._originals():
            yield _outcome_of(trial), dict(trial.costs)

    def curves(self) -> Iterator[Curve]:
        """What the evaluated candidates showed after each epoch."""
        for trial in self._originals():
            if trial.number not in self._curves:
                proposal = self._proposal_of(trial)
                price = proposal.costs[self.objective.cost]
                self._curves[trial.number] = Curve(price, _outcome_of(trial).curve, proposal.epochs)
            yield self._curves[trial.number]

    def to_confirm(self, seeds: Sequence[int]) -> list[tuple[Proposal, int]]:
        """Trainings of what is on the front that are still to be done, as candidates with their seeds.

        What they bring to light may have to be confirmed too: asked again when all are done, it gives the next ones, until there
        are none.
        """
        if not seeds:
            return []
        drivers = sorted(self._patiently(self._leases.alive))
        trials = [trial for trial in self._originals() if trial.state is State.COMPLETE]
        learnt = read_learnt(self._study)
        known = [learnt.confirmations_of(trial) for trial in trials]
        first = [trial.accuracy or 0.0 for trial in trials]
        mean = [
            (accuracy if math.isnan(confirmed.mean) else confirmed.mean) if {*seeds} <= {*confirmed.seeds} else math.nan
            for accuracy, confirmed in zip(first, known)
        ]
        price = [trial.costs[self.objective.cost] for trial in trials]
        chosen = [(self._proposal_of(trials[i]), known[i].seeds) for i in to_confirm(first, mean, price)]
        trainings = [(proposal, seed) for proposal, done in chosen for seed in seeds if seed not in done]
        return (
            trainings[drivers.index(self._leases.name) :: len(drivers)] if self._leases.name in drivers else trainings
        )

    def confirm(self, number: int, seed: int, outcome: Outcome) -> None:
        """Records what another training of a trial's candidate came to; one that diverged is as good as guessing."""
        self._patiently(lambda: self._confirm(number, seed, outcome))

    def _confirm(self, number: int, seed: int, outcome: Outcome) -> None:
        trial = self.stored(number)
        accuracy = outcome.accuracy if outcome.state == "complete" else None
        if outcome.failure is not None and outcome.failure.startswith("diverged"):
            accuracy = self.reference["chance"]
        known = read_learnt(self._study).confirmations_of(trial)
        if seed not in known.seeds:
            write_confirmations(self._study, trial, known.with_one_more(seed, accuracy))

    def not_measured(self, numbers: Collection[int]) -> list[Architecture]:
        """The networks of these trials that were not measured end to end, each once."""
        measured = read_learnt(self._study).measured_ms
        wanted = [t for t in self._originals() if t.number in numbers and t.digest not in measured]
        return list({trial.digest: self._candidate_of(trial).architecture for trial in wanted}.values())

    def measured(self, digest: str, found: Measurement, device: Mapping[str, str]) -> None:
        """Records what measuring a network end to end came to; what its trial was priced at stays."""
        note_measured(self._study, {digest: found}, device)

    def stored(self, number: int) -> StoredTrial:
        """One trial, as it was when the storage was last looked at."""
        return self._reader.read(self._storage.trials[number])

    def _stored(self) -> Iterator[StoredTrial]:
        return map(self._reader.read, self._storage.trials)

    def _originals(self) -> Iterator[StoredTrial]:
        """The trials of candidates that were evaluated."""
        return (trial for trial in self._stored() if trial.is_original and not self._is_foreign(trial))

    def _is_foreign(self, trial: StoredTrial) -> bool:
        """Whether a finished trial is passed over: nobody knows what it is, or its decisions make another network here."""
        if trial.number not in self._foreign:
            try:
                own = trial.defect is None and (
                    not trial.is_original or self._candidate_of(trial).architecture.digest == trial.digest
                )
            except InputError:
                own = False
            self._foreign[trial.number] = not own
        return self._foreign[trial.number]

    @property
    def num_elsewhere(self) -> int:
        """Trials that other drivers were running when last seen: each may yet be left to this one."""
        return self._num_elsewhere

    def ask(self) -> Proposal | None:
        """The next candidate to train; None where enough are done or running, or the sampler finds nothing new."""
        if time.monotonic() < self._idle_until:
            return None
        proposal = self._patiently(self._ask)
        if proposal is None and self._leases.shared:
            self._idle_until = time.monotonic() + ASK_AGAIN_S
        return proposal

    def _ask(self) -> Proposal | None:
        self._catch_up()
        duplicates = infeasible = 0
        while self._num_under_way < self.trials and self.stopped_early is None:
            if (duplicates or infeasible or self._num_duplicates) and self._is_exhausted:
                where = "of the space within the limits" if self.objective.limits else "of the space"
                self.stopped_early = f"every candidate {where} has been evaluated, {len(self._everything or ())} in all"
                break
            proposal, trial = self._propose()
            violations = {} if proposal is None else self.objective.violations(proposal.costs)
            if proposal is None:
                infeasible += 1
            elif any(excess > 0 for excess in violations.values()):
                infeasible += 1
                self._reject(trial, violations, proposal.costs)
            elif (original := self._original_of(proposal)) != proposal.number:
                duplicates += 1
                self._duplicate(trial, original)
                self._evaluated.setdefault(proposal.candidate.digest, original)
            else:
                self._storage.flush()  # before anything here relies on it
                self._evaluated[proposal.candidate.digest] = proposal.number
                self._running[proposal.number] = proposal
                return proposal
            if duplicates >= MAX_DUPLICATES:
                self.stopped_early = f"the last {duplicates} proposals had all been evaluated before"
            if infeasible >= MAX_INFEASIBLE:
                self.stopped_early = f"the last {infeasible} proposals were all outside the hard limits"
        return None

    def _original_of(self, proposal: Proposal) -> int:
        """The number of the trial whose outcome is the candidate's: its own, unless another has or will have it."""
        # one that was queued again as a copy stays one, also where its turn comes before that of its original
        known = self.stored(proposal.number).duplicate_of
        return self._evaluated.get(proposal.candidate.digest, proposal.number if known is None else known)

    @property
    def _is_exhausted(self) -> bool:
        """Whether nothing new can be proposed, and nothing waits for its turn."""
        if self._everything is None or not self._everything <= self._evaluated.keys():
            return False
        return not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    @cached_property
    def _everything(self) -> set[str] | None:
        """Digests of all candidates of a small space within the hard limits; None where they are too many to list."""
        if self.space.size > MAX_ENUMERATED:
            return None
        candidates = map(self.space.candidate, enumerate_decisions(self.space))
        has_limits = bool(self.objective.limits)
        return {
            c.digest for c in candidates if not has_limits or not self.objective.excess(self._costs(c.architecture))
        }

    @property
    def _num_under_way(self) -> int:
        return self._num_done + len(self._running) + self._num_elsewhere

    def tell(self, number: int, outcome: Outcome) -> bool:
        """Finishes a trial, and the duplicates that were waiting for it.

        Returns:
            Whether it counts: False where the trial went to another driver meanwhile, because this one's lease had run out.
        """
        proposal = self._running[number]
        counts = self._patiently(lambda: self._tell(proposal, outcome))
        del self._running[number]
        if not counts:
            self.say(f"trial {number}: another driver has taken it over, its result here is dropped")
        return counts

    def _tell(self, proposal: Proposal, outcome: Outcome) -> bool:
        number = proposal.number
        if not self._finish_ours(number, outcome, proposal.costs):
            self._stale = True
            return False
        self._count(number)
        for copy in self._copies.get(number, []):
            if self._finish_ours(copy, outcome, proposal.costs):
                self._count(copy, duplicate=True)
        self._copies.pop(number, None)
        return True

    def _finish_ours(self, number: int, outcome: Outcome, costs: Mapping[str, float]) -> bool:
        """Finishes a trial unless it went to another driver; twice is as good as once."""
        self._storage.refresh(number)
        trial = self.stored(number)
        if not self._is_ours(trial):
            return False
        if trial.state is State.WAITING:  # queued again because the lease had run out, and not taken by anybody yet
            self._storage.set_trial_state_values(number, state=TrialState.RUNNING)
        if not trial.is_finished:
            self._finish(number, outcome, costs)
        return True

    def _is_ours(self, trial: StoredTrial) -> bool:
        return trial.driver in (None, self._leases.name)

    def release(self) -> None:
        """Puts running trials back in the queue, to be run again under their numbers, and gives the lease back."""

        def requeue() -> None:
            for number in [*self._running, *(copy for copies in self._copies.values() for copy in copies)]:
                self._storage.refresh(number)
                trial = self.stored(number)
                if trial.state is State.RUNNING and self._is_ours(trial):
                    self._requeue(number)

        try:
            self._patiently(requeue, patience_s=0)
        except InputError:  # the storage is away; who opens it next finds them
            self.say("the storage is away: trials that were running are queued again when the study is next opened")
        self._running.clear()
        self._copies.clear()
        self._leases.close()

    def _patiently(self, action: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
        """What `action` returns in this driver's turn at the storage, tried again while that is away."""

        def in_turn() -> T:
            with self._leases.turn(), self._storage.turn():
                return action()

        def try_once() -> T:
            try:
                return in_turn()
            except (UpdateFinishedTrialError, NumberTakenError):
                # by a driver that took the turn while this one had stopped, or by somebody who takes no turns
                self._stale = True
                return in_turn()
            except STORAGE_ERRORS:
                self._stale = True
                raise

        return patiently(try_once, self.say, self.give_up, patience_s)

    def _catch_up(self) -> None:
        """Takes in what others have written; what nobody alive is running is queued again."""
        if not self._stale:
            return
        alive = self._leases.alive()
        waiting = {copy for copies in self._copies.values() for copy in copies}
        elsewhere = 0
        unsettled = set()
        count = len(self._storage.trials)
        for number in (*sorted(self._unsettled), *range(self._num_seen, count)):
            if self.stored(number).driver not in alive:
                self._storage.refresh(number)  # another driver may have taken it over by now
            trial = self.stored(number)
            if not trial.is_finished:
                unsettled.add(number)
            if trial.state is State.RUNNING and number not in self._running and number not in waiting:
                if trial.driver in alive and trial.driver != self._leases.name:
                    elsewhere += not trial.is_copy
                    if trial.is_decided:  # else it is still being proposed
                        first = number if trial.duplicate_of is None else trial.duplicate_of
                        self._evaluated.setdefault(self._candidate_of(trial).digest, first)
                else:  # its driver is dead, or a write of this one failed half-way
                    self._requeue(number)
                    if trial.driver not in (None, self._leases.name):
                        self.say(f"trial {number} is queued again: its driver {trial.driver} gives no sign of life")
            elif trial.is_finished and number not in self._counted and not self._is_foreign(trial):
                self._take_in_finished(trial)
        self._unsettled, self._num_seen, self._num_elsewhere = unsettled, count, elsewhere
        self._stale = self._leases.shared

    def _take_in_finished(self, trial: StoredTrial) -> None:
        self._count(trial.number, trial.is_copy, not (trial.is_copy or trial.is_original))
        if trial.is_original:
            self._evaluated[self._candidate_of(trial).digest] = trial.number
        for copy in self._copies.pop(trial.number, []):
            self._finish(copy, _outcome_of(trial), trial.costs)
            self._count(copy, duplicate=True)

    def _count(self, number: int, duplicate: bool = False, infeasible: bool = False) -> None:
        """Counts a finished trial, once."""
        if number not in self._counted:
            self._counted.add(number)
            self._num_duplicates += duplicate
            self._num_done += not (duplicate or infeasible)

    def _propose(self) -> tuple[Proposal | None, optuna.Trial]:
        """The next trial, and what it proposes; nothing where somebody has queued or edited what is no candidate."""
        trial = self._study.ask()
        if self._leases.shared:
            write_driver(trial, self._leases.name)
        try:
            candidate = self._decide(trial)
        except CostError:  # the user's function is wrong, not the candidate
            raise
        except (InputError, ValueError, KeyError, TypeError) as error:
            write_no_candidate(trial, str(error))
            self._study.tell(trial, state=TrialState.FAIL)
            return None, trial
        known = self.stored(trial.number)
        if known.digest != candidate.architecture.digest:
            self._describe(trial, candidate)
            known = self.stored(trial.number)
        return Proposal(trial.number, candidate, dict(known.costs), self._epochs), trial

    def _describe(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Stores what is known of a candidate before it is trained."""
        known = self._costs.record(candidate.architecture)
        error = known.pop("latency_error", None)
        decisions = self.stored(trial.number).decisions
        write_decided(trial, candidate, decisions, known, latency_error=error, trains_differ=self._trains_differ)

    def _decide(self, trial: optuna.Trial) -> Candidate:
        """What the sampler, or whoever has queued the trial, wants evaluated."""
        known = self.stored(trial.number)
        if known.outside:
            decisions = self.space.decide_hyperparameters(lambda decision: _suggest(trial, decision))
            return self.space.candidate_outside(_network_of(known), decisions)
        return self.space.candidate(self.space.decide(lambda decision: _suggest(trial, decision)))

    def _reject(self, trial: optuna.Trial, violations: Mapping[str, float], costs: Mapping[str, float]) -> None:
        limits = self.objective.limits
        broken = [f"{name} {costs[name]:g} > {limits[name]:g}" for name, excess in violations.items() if excess > 0]
        write_infeasible(trial, violations, ", ".join(broken))
        self._study.tell(trial, state=TrialState.PRUNED)

    def _duplicate(self, trial: optuna.Trial, original: int) -> None:
        write_duplicate(trial, original)
        if original not in self._counted:  # it is being trained, here or elsewhere
            self._storage.flush()
            self._copies.setdefault(original, []).append(trial.number)
            return
        known = self.stored(original)
        self._finish(trial.number, _outcome_of(known), known.costs)
        self._count(trial.number, duplicate=True)

    def _finish(self, number: int, outcome: Outcome, costs: Mapping[str, float]) -> None:
        values = reward = None
        if outcome.state == "complete":
            assert outcome.accuracy is not None
            price = costs[self.objective.cost]
            reward = float(self.objective.mean_reward(outcome.accuracy, price))
            values = self.objective.values(outcome.accuracy, price)
        write_result(
            self._storage,
            number,
            accuracy=outcome.accuracy,
            accuracy_top5=outcome.accuracy_top5,
            epochs=outcome.epochs,
            seconds=outcome.seconds,
            curve=outcome.curve,
            reward=reward,
            failure=None if outcome.state == "infeasible" else outcome.failure,
            beyond=outcome.failure if outcome.state == "infeasible" else None,
            retried=outcome.retried,
            metrics=outcome.metrics,
        )
        self._study.tell(number, values, state=_OPTUNA_STATES[outcome.state])

    def _proposal_of(self, trial: StoredTrial) -> Proposal:
        return Proposal(trial.number, self._candidate_of(trial), dict(trial.costs), self._epochs)

    def _candidate_of(self, trial: StoredTrial) -> Candidate:
        names = [decision.name for decision in self.space.decisions]
        decisions = {name: trial.decisions[name] for name in names if name in trial.decisions}
        if trial.outside:
            return self.space.candidate_outside(_network_of(trial), decisions)
        return self.space.candidate(decisions)

    def _requeue(self, number: int) -> None:
        self._storage.set_trial_state_values(number, state=TrialState.WAITING)


def note_measured(study: optuna.Study, found: Mapping[str, Measurement], device: Mapping[str, str]) -> int:
    """Records latencies measured end to end, by digest; returns of how many networks of the study."""
    predicted = {trial.digest: trial.costs.get("latency_ms") for trial in read_trials(study)}
    known = {digest: measured for digest, measured in found.items() if digest in predicted}
    for digest, one in known.items():
        write_measured(
            study,
            digest,
            latency_ms=one.median_ms,
            iqr_ms=one.iqr_ms,
            predicted_ms=predicted[digest],
            device=in_words(device),
        )
    return len(known)


def _network_of(trial: StoredTrial) -> Architecture:
    """The network of a trial outside the space.

    Raises:
        InputError: the trial has none.
    """
    if trial.architecture is None:
        raise InputError(f"trial {trial.number} has no network")
    return decode(trial.architecture)


def _suggest(trial: optuna.Trial, decision: Decision) -> Value:
    """The sampler's value for a decision; a trial that was interrupted keeps those it has."""
    domain = decision.domain
    if isinstance(domain, Choice):
        return trial.suggest_categorical(decision.name, domain.labels)
    if isinstance(domain, Float):
        return trial.suggest_float(decision.name, domain.low, domain.high, log=domain.log)
    return trial.suggest_int(decision.name, domain.low, domain.high)


def _outcome_of(trial: StoredTrial) -> Outcome:
    """What a finished trial was told."""
    return Outcome(
        trial.state.value,  # type: ignore[arg-type]
        trial.accuracy,
        trial.accuracy_top5,
        trial.epochs or 0,
        trial.seconds or 0.0,
        trial.curve,
        trial.failure_text if trial.infeasible is None else trial.infeasible,
        trial.retried,
        trial.metrics,
    )
