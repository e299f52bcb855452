"""Ask, tell, resume: the only part that writes a study's storage.

The Optuna storage is the one truth. What `ask` hands out is recorded as running, what `tell` takes is finished and never changes
again; tables, front and page are derived from it at any time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.confirm import Confirmations, key_of, to_confirm
from search.costs import Costs
from search.fidelity import Curve
from search.objective import COSTS, Objective
from search.outcome import Outcome
from search.samplers.base import SpaceSampler
from spaces import Candidate, Decision, InputError, SearchSpace
from spaces.values import Choice, Float, Value

MAX_DUPLICATES = 100
"""Proposals in a row that have all been evaluated before, after which the search ends."""
MAX_INFEASIBLE = 1000
"""Proposals in a row outside the hard limits, after which the search ends."""
NUM_REFERENCE = 1000
"""Random architectures by which the range of targets and the share of feasible ones are found."""

MAY_CHANGE = ("trials", "workers", "backend", "storage", "data.path", "confirm", "results_dir", "study", "choices")
"""Parts of the config that a resumed study may give anew."""

_OPTUNA_STATES = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Proposal:
    """A candidate to train."""

    number: int
    """Of its trial."""
    candidate: Candidate
    costs: dict[str, float]

    @property
    def epochs(self) -> int:
        """Of its training; 1 where it is not trained by epochs."""
        return _epochs_of(self.candidate)


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
        config: what defines the study; a resumed study is compared with it.

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
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.space = space
        self._costs = Costs(wanted=(objective.cost, *objective.limits)) if costs is None else costs
        self._storage = storage
        self.trials = trials
        self.stopped_early: str | None = None
        """Why no more candidates are proposed before `trials` are reached."""
        try:
            self._study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        except KeyError:
            reference = self._reference(objective)
            self._study = optuna.create_study(
                study_name=name, storage=storage, sampler=sampler, directions=list(objective.directions)
            )
            self._describe(reference, config or {})
        if "config" not in self._study.user_attrs:  # its driver was killed in the lines above
            self._describe(self._reference(objective), config or {})
        self._compare(dict(config or {}))
        self._study_id = storage.get_study_id_from_name(name)
        self.reference: dict[str, Any] = self._study.user_attrs["reference"]
        self.objective = objective.resolve(self.reference["cost_range"][objective.cost])
        if isinstance(sampler, SpaceSampler):
            sampler.bind(space, self.objective, self._costs)
        self._trains_differ = any(decision.name.startswith("train.") for decision in space.decisions)
        self._running: dict[int, Proposal] = {}
        self._evaluated: dict[str, int] = {}
        self._copies: dict[int, list[int]] = {}
        self._curves: dict[int, Curve] = {}
        self._num_done = self._num_duplicates = 0
        self._resume()

    @property
    def optuna_study(self) -> optuna.Study:
        """The study as Optuna sees it, to read from."""
        return self._study

    @property
    def num_done(self) -> int:
        """Evaluated candidates: complete, stopped or failed; neither duplicates nor infeasible ones."""
        return self._num_done

    @property
    def num_duplicates(self) -> int:
        """Finished trials that repeat another."""
        return self._num_duplicates

    def finished(self) -> Iterator[tuple[Outcome, dict[str, float]]]:
        """What the evaluated candidates came to, with their costs; neither duplicates nor infeasible ones."""
        for trial in self._originals():
            yield _outcome_of(trial), _costs_in(trial.user_attrs)

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
        trials = [trial for trial in self._originals() if trial.state is TrialState.COMPLETE]
        learnt = self._study.user_attrs
        known = [Confirmations.of(learnt, trial.user_attrs) for trial in trials]
        first = [_outcome_of(trial).accuracy or 0.0 for trial in trials]
        mean = [
            (accuracy if math.isnan(confirmed.mean) else confirmed.mean) if {*seeds} <= {*confirmed.seeds} else math.nan
            for accuracy, confirmed in zip(first, known)
        ]
        price = [_costs_in(trial.user_attrs)[self.objective.cost] for trial in trials]
        chosen = [(self._proposal_of(trials[i]), known[i].seeds) for i in to_confirm(first, mean, price)]
        return [(proposal, seed) for proposal, done in chosen for seed in seeds if seed not in done]

    def confirm(self, number: int, seed: int, outcome: Outcome) -> None:
        """Records what another training of a trial's candidate came to; one that diverged is as good as guessing."""
        attributes = self._storage.get_trial(self._trial_id(number)).user_attrs
        accuracy = outcome.accuracy if outcome.state == "complete" else None
        if outcome.failure is not None and outcome.failure.startswith("diverged"):
            accuracy = self.reference["chance"]
        known = Confirmations.of(self._study.user_attrs, attributes).with_one_more(seed, accuracy)
        self._study.set_user_attr(key_of(attributes), known.to_dict())

    def _originals(self) -> Iterator[FrozenTrial]:
        """The trials of candidates that were evaluated."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.is_finished() and not {"infeasible", "duplicate_of"} & trial.user_attrs.keys():
                yield trial

    def ask(self) -> Proposal | None:
        """The next candidate to train; None where enough are done or running, or the sampler finds nothing new."""
        duplicates = infeasible = 0
        while self._num_done + len(self._running) < self.trials and self.stopped_early is None:
            proposal, trial = self._propose()
            violations = self.objective.violations(proposal.costs)
            original = self._evaluated.get(proposal.candidate.digest)
            if any(excess > 0 for excess in violations.values()):
                infeasible += 1
                self._reject(trial, violations, proposal.costs)
            elif original is not None and original != proposal.number:
                duplicates += 1
                self._duplicate(trial, original)
            else:
                self._evaluated[proposal.candidate.digest] = proposal.number
                self._running[proposal.number] = proposal
                return proposal
            if duplicates >= MAX_DUPLICATES:
                self.stopped_early = f"the last {duplicates} proposals had all been evaluated before"
            if infeasible >= MAX_INFEASIBLE:
                self.stopped_early = f"the last {infeasible} proposals all broke the hard limits"
        return None

    def tell(self, number: int, outcome: Outcome) -> None:
        """Finishes a trial, and the duplicates that were waiting for it."""
        proposal = self._running.pop(number)
        self._finish(number, outcome, proposal.costs)
        self._num_done += 1
        for copy in self._copies.pop(number, []):
            self._finish(copy, outcome, proposal.costs)
            self._num_duplicates += 1

    def release(self) -> None:
        """Puts running trials back in the queue, to be run again under their numbers."""
        for number in [*self._running, *(copy for copies in self._copies.values() for copy in copies)]:
            self._requeue(self._trial_id(number))
        self._running.clear()
        self._copies.clear()

    def _propose(self) -> tuple[Proposal, optuna.Trial]:
        trial = self._study.ask()
        decisions = self.space.decide(lambda decision: _suggest(trial, decision))
        candidate = self.space.candidate(decisions)
        digest = candidate.architecture.digest
        known = trial.user_attrs
        if known.get("digest") != digest:
            known = self._costs.record(candidate.architecture)
            if self._trains_differ:
                known["candidate"] = candidate.digest
            for key, value in {"architecture": candidate.architecture.to_dict(), **known, "digest": digest}.items():
                trial.set_user_attr(key, value)
        return Proposal(trial.number, candidate, _costs_in(known)), trial

    def _reject(self, trial: optuna.Trial, violations: Mapping[str, float], costs: Mapping[str, float]) -> None:
        for name, excess in violations.items():
            trial.set_constraint(f"max_{name}", excess)
        limits = self.objective.limits
        broken = [f"{name} {costs[name]:g} > {limits[name]:g}" for name, excess in violations.items() if excess > 0]
        trial.set_user_attr("infeasible", ", ".join(broken))
        self._study.tell(trial, state=TrialState.PRUNED)

    def _duplicate(self, trial: optuna.Trial, original: int) -> None:
        trial.set_user_attr("duplicate_of", original)
        if original in self._running:
            self._copies.setdefault(original, []).append(trial.number)
            return
        known = self._storage.get_trial(self._trial_id(original))
        self._finish(trial.number, _outcome_of(known), _costs_in(known.user_attrs))
        self._num_duplicates += 1

    def _finish(self, number: int, outcome: Outcome, costs: Mapping[str, float]) -> None:
        objective = self.objective
        attributes: dict[str, Any] = {
            "accuracy": outcome.accuracy,
            "accuracy_top5": outcome.accuracy_top5,
            "epochs": outcome.epochs,
            "seconds": round(outcome.seconds, 3),
            "curve": list(outcome.curve),
            "failure": outcome.failure,
        }
        values = None
        if outcome.state == "complete":
            assert outcome.accuracy is not None
            price = costs[objective.cost]
            attributes["reward"] = float(objective.mean_reward(outcome.accuracy, price))
            values = objective.values(outcome.accuracy, price)
        trial_id = self._trial_id(number)
        for key, value in attributes.items():
            if value is not None:
                self._storage.set_trial_user_attr(trial_id, key, value)
        self._study.tell(number, values, state=_OPTUNA_STATES[outcome.state])

    def _resume(self) -> None:
        """Takes up what the storage holds; trials that were running when their driver ended are queued again."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state is TrialState.RUNNING:
                self._requeue(trial._trial_id)
            elif trial.state.is_finished() and "duplicate_of" in trial.user_attrs:
                self._num_duplicates += 1
            elif trial.state.is_finished() and "infeasible" not in trial.user_attrs:
                self._num_done += 1
                self._evaluated[self._candidate_of(trial).digest] = trial.number

    def _proposal_of(self, trial: FrozenTrial) -> Proposal:
        return Proposal(trial.number, self._candidate_of(trial), _costs_in(trial.user_attrs))

    def _candidate_of(self, trial: FrozenTrial) -> Candidate:
        return self.space.candidate(
            {d.name: trial.params[d.name] for d in self.space.decisions if d.name in trial.params}
        )

    def _requeue(self, trial_id: int) -> None:
        self._storage.set_trial_state_values(trial_id, state=TrialState.WAITING)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _reference(self, objective: Objective) -> dict[str, Any]:
        """What hypervolumes and rewards of this study refer to, found on random architectures within the hard limits."""
        rng = np.random.default_rng(0)
        sampled = [self._costs(self.space.random(rng).architecture) for _ in range(NUM_REFERENCE)]
        feasible = [c for c in sampled if all(excess <= 0 for excess in objective.violations(c).values())]
        if not feasible:
            least = {name: min(costs[name] for costs in sampled) for name in objective.limits}
            said = ", ".join(
                f"objective.max_{n}={limit:g} (least seen: {least[n]:g})" for n, limit in objective.limits.items()
            )
            raise InputError(f"0% of {NUM_REFERENCE} random architectures of the space meet {said}; raise the limit")
        ranges = {name: (min(c[name] for c in feasible), max(c[name] for c in feasible)) for name in feasible[0]}
        chance = 1 / self.space.random(rng).architecture.num_classes
        return {"cost_range": ranges, "chance": chance, "feasible_share": len(feasible) / NUM_REFERENCE}

    def _describe(self, reference: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Stores what the study's reports and its resumption need; the config last."""
        self._study.set_user_attr("reference", dict(reference))
        self._study.set_user_attr("decisions", [decision.name for decision in self.space.decisions])
        self._study.set_user_attr("config", dict(config))

    def _compare(self, config: dict[str, Any]) -> None:
        """Refuses to go on with a config that would make another study."""
        stored = _flatten(self._study.user_attrs["config"])
        given = _flatten(json.loads(json.dumps(config)))  # as it would come back from the storage
        changes = [
            f"  {key}: {stored.get(key, 'absent')} -> {given.get(key, 'absent')}"
            for key in sorted(stored.keys() | given.keys())
            if stored.get(key) != given.get(key) and not _may_change(key)
        ]
        if changes:
            raise InputError(
                f"the study '{self._study.study_name}' was started with another config:\n"
                + "\n".join(changes)
                + "\ngive the old values, or a new name by study=NAME"
            )


def _suggest(trial: optuna.Trial, decision: Decision) -> Value:
    """The sampler's value for a decision; a trial that was interrupted keeps those it has."""
    domain = decision.domain
    if isinstance(domain, Choice):
        return trial.suggest_categorical(decision.name, domain.labels)
    if isinstance(domain, Float):
        return trial.suggest_float(decision.name, domain.low, domain.high, log=domain.log)
    return trial.suggest_int(decision.name, domain.low, domain.high)


def _outcome_of(trial: FrozenTrial) -> Outcome:
    """What a finished trial was told."""
    states = {state: name for name, state in _OPTUNA_STATES.items()}
    attributes = trial.user_attrs
    return Outcome(
        states[trial.state],  # type: ignore[arg-type]
        attributes.get("accuracy"),
        attributes.get("accuracy_top5"),
        attributes.get("epochs", 0),
        attributes.get("seconds", 0.0),
        tuple(attributes.get("curve", ())),
        attributes.get("failure"),
    )


def _costs_in(attributes: Mapping[str, Any]) -> dict[str, float]:
    """The costs among a trial's attributes."""
    return {name: attributes[name] for name in COSTS if name in attributes}


def _epochs_of(candidate: Candidate) -> int:
    return int(candidate.hyperparameters.get("epochs", 1))


def _flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested data by dotted key."""
    if isinstance(data, Mapping) or (isinstance(data, list) and any(isinstance(i, Mapping | list) for i in data)):
        items = data.items() if isinstance(data, Mapping) else enumerate(data)
        return {k: v for key, value in items for k, v in _flatten(value, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): data}


def _may_change(key: str) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in MAY_CHANGE)
