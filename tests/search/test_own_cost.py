"""A user's own cost: traded, limited, tabled, drawn and picked by as the built-in ones are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from search import COSTS, Cost, Objective, find_front, load_study
from search.objective.costs import BUILT_IN, Costs
from search.report import write_report
from search.reporting.dashboard import Studies
from search.reporting.page import StudyPage
from spaces import Architecture, InputError, SearchSpace, cost

from .test_api import accuracy
from .test_run import TINY, run

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ENERGY = """
from search import COSTS, Cost
from spaces import cost

COSTS["energy_mj"] = Cost(lambda architecture: 1e-4 * cost(architecture).params + 0.01, unit="mJ", meaning="a model's")
"""


def energy(architecture: Architecture) -> float:
    return 1e-4 * cost(architecture).params + 0.01


@pytest.fixture
def energy_mj(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COSTS, "energy_mj", Cost(energy, unit="mJ", meaning="a model's"))


@pytest.mark.usefixtures("energy_mj")
def test_it_is_traded_limited_and_shown_also_where_its_module_is_not_known(
    small_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    objective = Objective(cost="energy_mj", max_energy_mj=0.4, max_size_bytes=1e5)
    find_front(small_space, accuracy, trials=15, objective=objective, folder=folder)
    monkeypatch.delitem(COSTS, "energy_mj")
    study = load_study("mine", tmp_path)
    trained = study.trials[study.trials["state"] == "complete"]
    assert trained["energy_mj"].between(0.01, 0.4).all()
    assert study.trials["energy_mj"].tolist() == pytest.approx((1e-4 * study.trials["params"] + 0.01).tolist())
    assert study.trials["size_bytes"].tolist() == (4 * study.trials["params"]).tolist()
    assert study.costs == ["flops", "params", "memory_access", "activation_bytes", "size_bytes", "energy_mj"]
    assert pd.read_csv(folder / "front_energy_mj.csv")["number"].tolist() == study.front()["number"].tolist()
    assert study.figure("front").layout.xaxis.title.text == "Energy (mJ)"
    page = Studies(tmp_path).page("mine")
    words = {"name": "energy_mj", "label": "Energy (mJ)", "is_count": False, "meaning": "a model's"}
    assert words in page.model()["costs"]
    assert "Energy (mJ)" in page.body()
    assert "at\u00a0most\u00a00.4\u00a0mJ" in page.body()
    assert page.figure("front:energy_mj")["layout"]["xaxis"]["tickformat"] == "~g"


def test_a_search_from_the_command_line_goes_by_it(tmp_path: Path) -> None:
    (tmp_path / "own" / "space").mkdir(parents=True)
    (tmp_path / "own" / "space" / "tiny.yaml").write_text(TINY)
    (tmp_path / "mine.py").write_text(ENERGY)
    settings = ["--config-dir", "own", "space=tiny", "device=none", "data.limit=200", "train.epochs=1", "study=own"]
    own = ["imports=[mine]", "objective.cost=energy_mj", "objective.max_energy_mj=0.3", "trials=4", "workers=1"]
    out = run(tmp_path, *settings, *own)
    assert "The front: accuracy against energy (mJ)" in out
    folder = tmp_path / "results" / "own"
    front = pd.read_csv(folder / "front_energy_mj.csv")
    assert front["energy_mj"].max() <= 0.3
    budget = float(front["energy_mj"].iloc[0])
    out = run(tmp_path, "study=own", f"max_energy_mj={budget}", module="search.pick")
    assert f"{budget:.3g} mJ" in out
    (tmp_path / "mine.py").unlink()  # what the study stores is enough to read it
    assert "energy (mJ)" in run(tmp_path, "study=own", module="search.report")
    out = run(tmp_path, "study=own", "max_energy_mj=1e-9", module="search.pick", status=2)
    assert "max_energy_mj=1e-09; the nearest is trial" in out
    out = run(tmp_path, "study=own", "max_energie_mj=1", module="search.pick", status=2)
    assert "knows no energie_mj; known are flops, params" in out
    out = run(tmp_path, *settings, "imports=[]", *own[1:], status=2)
    assert "objective.max_energy_mj=0.3: no such key" in out


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda architecture: -1.0, "is -1.0; it must be a finite number above 0"),
        (lambda architecture: 0, "is 0; it must be"),
        (lambda architecture: math.nan, "is nan; it must be"),
        (lambda architecture: math.inf, "is inf; it must be"),
        (lambda architecture: "many", "is 'many'; it must be"),
        (lambda architecture: None, "is None; it must be"),
        (lambda architecture: True, "is True; it must be"),
        (lambda architecture: 1 / 0, "fails: ZeroDivisionError: division by zero"),
        (lambda architecture: architecture.energy, "fails: AttributeError"),
        (None, "the function is None; it must price an Architecture"),
    ],
)
def test_a_function_that_prices_nothing_is_one_error_before_a_search(
    value: Callable[[Architecture], Any] | None,
    message: str,
    small_space: SearchSpace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(COSTS, "energy_mj", Cost(value, unit="mJ"))
    with pytest.raises(InputError, match=r"COSTS\['energy_mj'\]: .*" + message):
        find_front(small_space, accuracy, trials=3, folder=tmp_path / "mine")
    assert not list((tmp_path / "mine").glob("trials.csv"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("energy mj", "must be a Python identifier"),
        ("../energy", "must be a Python identifier"),
        ("class", "must be a Python identifier"),
        ("accuracy", "has this name"),
        ("measured_ms", "has this name"),
        ("architecture", "has this name"),
        ("width_multiplier", "has this name"),  # a decision of the space
        ("flops", "is built in"),
    ],
)
def test_a_name_that_is_taken_or_none_is_one_error(
    name: str, message: str, small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSTS, name, Cost(energy, unit="mJ"))
    with pytest.raises(InputError, match=message):
        find_front(small_space, accuracy, trials=3)


def test_a_cost_that_fails_amid_a_search_ends_it_and_the_study_goes_on_once_it_is_mended(
    small_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([1.0] * 12)
    monkeypatch.setitem(COSTS, "energy_mj", Cost(lambda architecture: next(left, -1), unit="mJ"))
    with pytest.raises(InputError, match=r"energy_mj.* is -1"):
        find_front(small_space, accuracy, trials=10, folder=tmp_path / "mine", sampler="random")
    monkeypatch.setitem(COSTS, "energy_mj", Cost(energy, unit="mJ"))
    study = find_front(small_space, accuracy, trials=10, folder=tmp_path / "mine", sampler="random")
    assert (study.trials["state"] == "complete").sum() >= 10


def test_a_study_that_learns_of_a_further_cost_keeps_it_from_then_on(
    small_space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_front(small_space, accuracy, trials=5, folder=tmp_path / "mine")
    monkeypatch.setitem(COSTS, "energy_mj", Cost(energy, unit="mJ"))
    study = find_front(small_space, accuracy, trials=9, folder=tmp_path / "mine")
    assert study.trials["energy_mj"].isna().tolist() == [True] * 5 + [False] * (len(study.trials) - 5)
    assert study.front("energy_mj")["number"].min() >= 5


@pytest.mark.parametrize("name", ["study", "study-latency"])
def test_a_study_of_version_0_1_has_no_sizes_and_is_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "study.db").write_bytes((FIXTURES / name / "study.db").read_bytes())
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    study = optuna.load_study(study_name=None, storage=storage)
    trials, _ = write_report(study, folder)
    assert trials["size_bytes"].isna().all()
    assert not (folder / "front_size_bytes.csv").exists()
    before, now = (pd.read_csv(place / "trials.csv") for place in (FIXTURES / name, folder))
    pd.testing.assert_frame_equal(now[before.columns], before)


@pytest.mark.usefixtures("energy_mj")
def test_only_what_is_wanted_is_priced_while_sampling(small_space: SearchSpace) -> None:
    architecture = small_space.random(np.random.default_rng(0)).architecture
    assert set(Costs()(architecture)) == {"flops", "params"}
    assert set(Costs(wanted=["energy_mj"])(architecture)) == {"flops", "params", "energy_mj"}
    assert set(Costs().record(architecture)) == {*BUILT_IN, "energy_mj"} - {"latency_ms"}


def test_a_count_is_whole_and_written_with_a_prefix(small_space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COSTS, "layers", Cost(lambda a: 1e3 * len(a.layers), unit="layers", is_count=True))
    study = find_front(small_space, accuracy, trials=3, objective=Objective(cost="layers"))
    assert str(study.trials["layers"].dtype) == "Int64"
    assert StudyPage(study.record, Path()).figure("front:layers")["layout"]["xaxis"]["tickformat"] == "~s"
    monkeypatch.setitem(COSTS, "layers", Cost(lambda a: 0.5 + len(a.layers), unit="layers", is_count=True))
    with pytest.raises(InputError, match="a count must be whole"):
        find_front(small_space, accuracy, trials=3)
