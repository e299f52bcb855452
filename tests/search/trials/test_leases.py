"""Several drivers on one study in a real PostgreSQL: each trial once, whoever dies, and whatever the server does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import create_engine, text

from search.evaluation.outcome import Outcome
from search.objective.reward import Objective
from search.study.study import Proposal, Study
from search.trials.leases import PostgresLeases, patiently
from search.trials.reader import read_trials
from search.trials.storage import open_leases, open_storage
from spaces import InputError, SearchSpace
from tests.search.conftest import instant_outcome
from tests.search.postgres import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    server = Server()
    patch = pytest.MonkeyPatch()
    for name, value in server.environment.items():
        patch.setenv(name, value)
    yield server
    patch.undo()
    server.close()


def make_study(server: Server, space: SearchSpace, name: str, trials: int, seed: int = 0, lease_s: float = 30) -> Study:
    """One driver's view of a study."""
    return Study(
        space,
        Objective(),
        optuna.samplers.RandomSampler(seed=seed),
        open_storage(Path(), server.url),
        name=name,
        trials=trials,
        leases=PostgresLeases(server.url, name, lease_s=lease_s),
    )


def ask(study: Study) -> Proposal:
    study._idle_until = 0.0  # it need not wait before it looks again
    proposal = study.ask()
    assert proposal is not None
    return proposal


def work(study: Study, trained: list[int]) -> None:
    """What a driver does, without the training."""
    while True:
        proposal = study.ask()
        if proposal is None:
            if study.num_done >= study.trials:
                break
            time.sleep(0.05)
            continue
        trained.append(proposal.number)
        assert study.tell(proposal.number, instant_outcome(proposal))
    study.release()


def test_several_drivers_train_every_candidate_once(server: Server, small_space: SearchSpace) -> None:
    trained: list[list[int]] = [[], [], []]
    # the same seed for all: they propose the same candidates, and must not train them twice
    studies = [make_study(server, small_space, "shared", trials=30) for _ in trained]
    threads = [threading.Thread(target=work, args=pair) for pair in zip(studies, trained)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = studies[0].optuna_study.trials
    evaluated = [t for t in trials if "duplicate_of" not in t.user_attrs]
    assert sorted(number for numbers in trained for number in numbers) == [t.number for t in evaluated]
    assert len({t.digest for t in read_trials(studies[0].optuna_study) if t.is_original}) == len(evaluated) == 30
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert all(numbers for numbers in trained)


def test_a_dead_drivers_trials_are_run_by_another_once_its_lease_has_run_out(
    server: Server, small_space: SearchSpace
) -> None:
    dead = make_study(server, small_space, "dead", trials=4, lease_s=1.5)
    other = make_study(server, small_space, "dead", trials=4, seed=1)
    said: list[str] = []
    other.say = said.append
    numbers = {ask(dead).number, ask(dead).number}
    mine = [ask(other), ask(other)]
    assert other.ask() is None  # four are under way
    assert other.num_elsewhere == 2
    dead._leases._closed.set()  # type: ignore[attr-defined]  # no more signs of life, as after kill -9
    for proposal in mine:
        assert other.tell(proposal.number, instant_outcome(proposal))
    other._idle_until = 0.0
    assert other.ask() is None  # the lease has not run out yet
    time.sleep(2)
    taken = [ask(other), ask(other)]
    assert {proposal.number for proposal in taken} == numbers
    assert any("no sign of life" in line for line in said)
    for proposal in taken:
        assert other.tell(proposal.number, instant_outcome(proposal))
    # the first driver was not dead after all: what it brings is not counted again
    assert not dead.tell(taken[0].number, Outcome("complete", 0.99, epochs=1))
    assert other.num_done == 4
    assert 0.99 not in [trial.accuracy for trial in read_trials(other.optuna_study)]
    other.release()


def test_drivers_that_start_together_on_an_empty_database_all_start(server: Server) -> None:
    engine = create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE empty"))
    engine.dispose()
    url = server.url.removesuffix("postgres") + "empty"
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: (open_storage(Path(), url), open_leases(url, "study")), range(4)))
    names = {leases.name for _, leases in opened}
    assert opened[0][1].alive() == names
    for _, leases in opened:
        leases.close()


def test_a_turn_is_taken_from_a_driver_that_has_stopped_in_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.trials.leases.TURN_S", 0.2)
    stopped, other = (PostgresLeases(server.url, "stopped", lease_s=2.0) for _ in range(2))
    stopped._closed.set()  # no more signs of life, as after SIGSTOP
    with stopped.turn():
        assert stopped.name in other.alive()
        with other.turn():
            assert other.alive() == {other.name}  # it was not taken before the lease had run out
    with stopped.turn():  # which goes on
        pass
    other.close()


def test_a_server_that_crashes_and_comes_back_costs_nothing(server: Server, small_space: SearchSpace) -> None:
    study = make_study(server, small_space, "crash", trials=3)
    said: list[str] = []
    study.say = said.append
    running = ask(study)
    server.kill()
    threading.Timer(2, server.start).start()
    assert study.tell(running.number, instant_outcome(running))
    assert [line.split()[:3] for line in said] == [["the", "storage", "cannot"], ["the", "storage", "is"]]
    server.kill()
    threading.Timer(2, server.start).start()
    following = ask(study)
    assert study.tell(following.number, instant_outcome(following))
    last = ask(study)
    assert study.tell(last.number, instant_outcome(last))
    assert study.ask() is None
    study.release()
    states = [trial.state for trial in study.optuna_study.trials]
    assert states.count(TrialState.COMPLETE) >= 3
    assert TrialState.RUNNING not in states


def test_patience_ends_and_says_what_is_wrong(server: Server) -> None:
    def away() -> None:
        raise optuna.exceptions.StorageInternalError("no route to host")

    said: list[str] = []
    with pytest.raises(InputError, match="no route to host"):
        patiently(away, said.append, lambda: False, patience_s=0)
    with pytest.raises(InputError, match="the same command goes on"):
        patiently(away, said.append, lambda: True)
    with pytest.raises(InputError, match="cannot open the storage"):
        open_leases("postgresql+psycopg://team@127.0.0.1:1/postgres", "study")
    with pytest.raises(InputError, match="mysql"):
        open_storage(Path(), "mysql://host/name")
