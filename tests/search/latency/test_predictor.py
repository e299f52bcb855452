"""Predictions on a device that follows a known law, and what the model of blocks promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search.latency.measuring import Measurement
from search.latency.predictor import Predictor
from search.latency.table import Table, block_keys
from spaces import Architecture, SearchSpace, load_space
from tests.search.latency.fake import CALL_MS, block_ms, empty_table, fill, measured, network_ms


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("shuffle_agg", in_channels=3, num_classes=10, resolution=32)


@pytest.fixture(scope="module")
def table(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Table:
    return fill(empty_table(tmp_path_factory.mktemp("table")), space)


@pytest.fixture(scope="module")
def unseen(space: SearchSpace) -> list[Architecture]:
    rng = np.random.default_rng(99)
    return [space.random(rng).architecture for _ in range(60)]


def relative_errors(predicted: np.ndarray, architectures: list[Architecture]) -> np.ndarray:
    return np.abs(predicted / [network_ms(a) for a in architectures] - 1)


def test_unseen_networks_are_predicted_to_a_few_percent(table: Table, unseen: list[Architecture]) -> None:
    known = sum(key in table.blocks for a in unseen for key in block_keys(a))
    assert known < 0.7 * sum(len(a.layers) for a in unseen)  # many of their blocks were never measured
    errors = relative_errors(Predictor(table).predict(unseen).latency_ms, unseen)
    assert np.mean(errors < 0.1) >= 0.95
    assert np.median(errors) < 0.02


def test_the_stated_error_is_that_of_the_prediction(table: Table, unseen: list[Architecture]) -> None:
    latency, stated = Predictor(table).predict(unseen)
    errors = np.log(latency / [network_ms(a) for a in unseen])
    assert np.mean(np.abs(errors) <= 2 * stated) >= 0.9


def test_measured_blocks_are_given_back(table: Table) -> None:
    keys = list(table.blocks)[:20]
    latency, _ = Predictor(table).predict_blocks(keys)
    np.testing.assert_allclose(latency, [table.blocks[key].median_ms for key in keys])


def test_a_disturbed_measurement_counts_less_than_the_model(table: Table, tmp_path: Path) -> None:
    disturbed = empty_table(tmp_path)
    disturbed.blocks = dict(table.blocks)
    keys = list(table.blocks)[::20]
    for key in keys:
        disturbed.blocks[key] = Measurement(1.45 * table.blocks[key].median_ms, 0.65 * table.blocks[key].median_ms, 60)
    latency, _ = Predictor(disturbed).predict_blocks(keys)
    assert np.median(np.abs(latency / [table.blocks[key].median_ms for key in keys] - 1)) < 0.1


def test_a_measured_block_is_surer_than_another(table: Table, unseen: list[Architecture]) -> None:
    predictor = Predictor(table)
    keys = {key for a in unseen for key in block_keys(a)}
    _, known = predictor.predict_blocks(key for key in keys if key in table.blocks)
    _, unknown = predictor.predict_blocks(key for key in keys if key not in table.blocks)
    assert np.median(known) < np.median(unknown)


def test_without_networks_blocks_are_added_up(table: Table, tmp_path: Path) -> None:
    alone = empty_table(tmp_path)
    alone.blocks = dict(table.blocks)
    [architecture] = [a for a, _ in list(table.networks.values())[:1]]
    for key in block_keys(architecture):
        alone.blocks[key] = Measurement(block_ms(key) + CALL_MS, 0.0, 50)
    [predicted] = Predictor(alone).predict([architecture]).latency_ms
    assert predicted == pytest.approx(sum(block_ms(key) + CALL_MS for key in block_keys(architecture)))


def test_networks_calibrate_the_sum(table: Table, tmp_path: Path, unseen: list[Architecture]) -> None:
    alone = empty_table(tmp_path)
    alone.blocks = dict(table.blocks)
    before = relative_errors(Predictor(alone).predict(unseen).latency_ms, unseen)
    after = relative_errors(Predictor(table).predict(unseen).latency_ms, unseen)
    assert np.median(after) < np.median(before) / 3  # each block's call is taken out again


def test_a_wild_measurement_does_no_harm(table: Table, tmp_path: Path, unseen: list[Architecture]) -> None:
    disturbed = empty_table(tmp_path)
    disturbed.blocks, disturbed.networks = dict(table.blocks), dict(table.networks)
    for digest, (architecture, one) in list(table.networks.items())[:2]:
        disturbed.networks[digest] = architecture, one._replace(median_ms=10 * one.median_ms)
    for key, one in list(table.blocks.items())[::60]:
        disturbed.blocks[key] = one._replace(median_ms=3 * one.median_ms)
    errors = relative_errors(Predictor(disturbed).predict(unseen).latency_ms, unseen)
    assert np.median(errors) < 0.05


def test_a_type_that_was_never_measured_is_predicted_less_surely(table: Table, tmp_path: Path) -> None:
    others = empty_table(tmp_path)
    others.blocks = {key: one for key, one in table.blocks.items() if key.block != "inverted_residual"}
    keys = [key for key in table.blocks if key.block == "inverted_residual"]
    latency, stated = Predictor(others).predict_blocks(keys)
    ratio = latency / [block_ms(key) + CALL_MS for key in keys]
    assert 0.4 < np.median(ratio) < 2.5
    assert np.median(stated) > np.median(Predictor(table).predict_blocks(keys).error)
    [network] = [a for a, _ in table.networks.values() if any(k.block == "inverted_residual" for k in block_keys(a))][
        :1
    ]
    assert Predictor(others).predict([network]).latency_ms[0] > 0


def test_few_networks_leave_it_less_sure(table: Table, tmp_path: Path, unseen: list[Architecture]) -> None:
    stated = []
    for count in (0, 6, len(table.networks)):
        fewer = empty_table(tmp_path)
        fewer.blocks = dict(list(table.blocks.items())[:60])
        fewer.networks = dict(list(table.networks.items())[:count])
        latency, errors = Predictor(fewer).predict(unseen)
        stated.append(np.median(errors))
        assert np.mean(relative_errors(latency, unseen) < 2 * errors) > 0.75
    assert stated[0] > stated[1] > stated[2]


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("measured_of", ["mobilenet_v2", "shuffle_agg"])
def test_networks_unlike_the_calibrating_ones_stay_within_reason(
    table: Table, tmp_path: Path, unseen: list[Architecture], count: int, measured_of: str
) -> None:
    other = load_space(measured_of, in_channels=3, num_classes=1000, resolution=160)
    rng, fewer = np.random.default_rng(count), empty_table(tmp_path)
    networks = [other.random(rng).architecture for _ in range(count)]
    keys = [*dict.fromkeys(key for a in networks for key in block_keys(a)), *list(table.blocks)[: 30 * count]]
    fewer.blocks = {key: measured(block_ms(key) + CALL_MS, rng) for key in keys}
    fewer.networks = {a.digest: (a, measured(network_ms(a), rng)) for a in networks}
    predictor = Predictor(fewer)
    for architecture in unseen[:20]:
        alone, _ = predictor.predict_blocks(block_keys(architecture))
        layers = predictor.by_layer(architecture)
        assert min(layers) > 0
        assert 0.1 < sum(layers) / alone.sum() < 2.1
    latency, stated = predictor.predict(unseen)
    assert np.mean(np.abs(np.log(latency / [network_ms(a) for a in unseen])) <= 3 * stated) >= 0.8


def test_an_empty_table_predicts_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing has been measured"):
        Predictor(empty_table(tmp_path))


def test_two_measurements_are_enough(tmp_path: Path, unseen: list[Architecture]) -> None:
    table, rng = empty_table(tmp_path), np.random.default_rng(0)
    table.blocks = {key: measured(block_ms(key), rng) for key in block_keys(unseen[0])[:2]}
    latency, stated = Predictor(table).predict(unseen[:5])
    assert np.all(latency > 0)
    assert np.all(np.isfinite(latency))
    assert np.all(np.isfinite(stated))
