"""Open values: how they are written, what they draw, and how surrogates see them."""

import math

import numpy as np
import pytest

from spaces.errors import InputError
from spaces.values import Choice, Float, Int, find_open, parse_tree, parse_value

DOMAINS = [
    Choice((2, 3, 5)),
    Choice((0.5, 0.25, 1)),
    Choice(("max", "mean")),
    Choice((None, "relu", "swish")),
    Choice((True, False)),
    Choice(({"conv": {"groups": Int(1, 2)}}, "identity", {"conv": {"groups": 4}})),
    Choice((7,)),
    Int(1, 3),
    Int(-2, -2),
    Float(0.0, 2.0),
    Float(1e-4, 1e-1, log=True),
    Float(0.5, 0.5, log=True),
]


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        ({"choice": [2, 3, 5]}, Choice((2, 3, 5))),
        ({"choice": [None, "relu"], "name": "act"}, Choice((None, "relu"), "act")),
        ({"int": [1, 3]}, Int(1, 3)),
        ({"float": [0, 1]}, Float(0.0, 1.0)),
        ({"float": [1e-3, 1e-1], "log": True, "name": "lr"}, Float(1e-3, 1e-1, True, "lr")),
        ({"choice": [{"conv": {"groups": {"int": [1, 2]}}}, 3]}, Choice(({"conv": {"groups": Int(1, 2)}}, 3))),
        ({"choice": [0, {"float": [0.1, 0.5]}]}, Choice((0, Float(0.1, 0.5)))),
        ({"choice": [[3, {"int": [1, 2]}], 5]}, Choice(([3, Int(1, 2)], 5))),
    ],
)
def test_the_three_forms(written, parsed):
    assert parse_value(written, "x") == parsed


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"choice": []}, ["key: choice is empty"]),
        ({"choice": 3}, ["key: choice takes a list", "3"]),
        ({"choice": "abc"}, ["key: choice takes a list", "abc"]),
        ({"choice": [1, 2, 1]}, ["key: choice has the equal options 1 and 1"]),
        ({"choice": [1, True]}, ["equal options 1 and true"]),
        ({"choice": [1], "int": [1, 2]}, ["one of choice, int, float", "choice, int"]),
        ({"choice": [1], "nam": "x"}, ["unknown key 'nam' beside choice", "did you mean 'name'?"]),
        ({"choice": [1], "name": 3}, ["name", "must be a text", "3"]),
        ({"choice": [1], "name": ""}, ["name", "must be a text"]),
        ({"int": [3, 1]}, ["low must not exceed high", "[3, 1]"]),
        ({"int": [1, 2, 3]}, ["int takes two whole numbers", "[1, 2, 3]"]),
        ({"int": [1, 2.5]}, ["int takes two whole numbers", "2.5"]),
        ({"int": [False, True]}, ["int takes two whole numbers"]),
        ({"int": [1, 8], "log": True}, ["unknown key 'log' beside int"]),
        ({"float": ["a", 1]}, ["float takes two numbers"]),
        ({"choice": [*range(1001)]}, ["choice has 1,001 options", "1,000"]),
        ({"float": [0, math.inf]}, ["float takes two numbers", "inf"]),
        ({"float": [0, 1], "log": True}, ["a log range must stay above zero", "[0, 1]"]),
        ({"float": [1, 2], "log": "yes"}, ["log must be true or false", "yes"]),
        ({"choice": [{"conv": {"groups": {"choice": []}}}]}, ["key[0].conv.groups: choice is empty"]),
    ],
)
def test_what_is_no_open_value_is_refused(written, words):
    with pytest.raises(InputError) as caught:
        parse_value(written, "key")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_draws_are_valid_seeded_and_reach_every_value(domain):
    draws = [domain.sample(np.random.default_rng(seed)) for seed in range(100)]
    assert all(domain.contains(value) for value in draws)
    assert draws == [domain.sample(np.random.default_rng(seed)) for seed in range(100)]
    assert len(set(draws)) == min(domain.num_values, 100)


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_encodings_tell_values_apart(domain):
    rng = np.random.default_rng(0)
    values = {domain.sample(rng) for _ in range(100)}
    rows = {tuple(domain.encode(value)) for value in values}
    assert len(rows) == len(values)
    assert all(len(row) == domain.num_columns and min(row) >= 0 and max(row) <= 1 for row in rows)


@pytest.mark.parametrize(
    ("domain", "value", "row"),
    [
        (Choice((5, 2, 3)), 3, [0.5]),  # by rank, however they are listed
        (Choice(("a", "b", "c")), "b", [0, 1, 0]),
        (Choice((True, False)), False, [1]),
        (Int(2, 6), 3, [0.25]),
        (Float(1, 3), 1.5, [0.25]),
        (Float(1e-4, 1, log=True), 1e-3, [0.25]),
    ],
)
def test_encoding(domain, value, row):
    assert domain.encode(value) == pytest.approx(row)


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_neighbours_are_other_values(domain):
    rng = np.random.default_rng(0)
    for _ in range(20):
        value = domain.sample(rng)
        near = domain.neighbours(value, rng)
        assert all(domain.contains(other) for other in near)
        assert value not in near or isinstance(domain, Float)
        assert bool(near) == (domain.num_values > 1)


def test_neighbours_of_a_number_are_next_to_it():
    rng = np.random.default_rng(0)
    assert Int(1, 9).neighbours(4, rng) == [3, 5]
    assert Int(1, 9).neighbours(9, rng) == [8]
    lower, higher = Float(1e-4, 1, log=True).neighbours(1e-2, rng)
    assert 1e-4 <= lower < 1e-2 < higher <= 1


def test_a_log_range_is_even_in_orders_of_magnitude():
    rng = np.random.default_rng(0)
    draws = np.array([Float(1e-4, 1, log=True).sample(rng) for _ in range(4000)])
    shares = np.histogram(np.log10(draws), bins=4, range=(-4, 0))[0] / 4000
    assert shares == pytest.approx([0.25] * 4, abs=0.04)


@pytest.mark.parametrize(
    ("domain", "value"),
    [
        (Choice((2, 3)), 4),
        (Choice(("a", "b")), None),
        (Int(1, 3), 0),
        (Int(1, 3), 4),
        (Int(0, 3), True),
        (Int(1, 3), 1.5),
        (Int(1, 3), "2"),
        (Float(0, 1), 1.1),
        (Float(0, 1), math.nan),
        (Float(0, 1), "0.5"),
    ],
)
def test_foreign_values_are_not_contained(domain, value):
    assert not domain.contains(value)


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ((3, 0.5, None, True, "max"), (3, 0.5, None, True, "max")),
        (({"conv": {"groups": 2}}, {"pool": {}}, {"identity": None}), ("conv", "pool", "identity")),
        (({"conv": {"groups": 2}}, "conv", "pool"), ("conv#1", "conv#2", "pool")),
        (({"block": "conv", "channels": 8}, {"block": {"pool": {}}, "stride": 2}), ("conv", "pool")),
        (({"pool": "avg"}, {"pool": "max", "levels": [1, 2]}), ("{pool: avg}", "{pool: max, levels: [1, 2]}")),
        (([3, 3], [5, Int(1, 2)]), ("[3, 3]", "[5, int]")),
        ((Float(0, 1), Float(1, 2), 3), ("float#1", "float#2", 3)),
    ],
)
def test_labels_are_short_and_distinct(options, labels):
    assert Choice(options).labels == labels


def test_a_misspelt_form_is_named():
    for written, right in (({"choic": [1, 2]}, "choice"), ({"flaot": [0.1, 1], "log": True}, "float")):
        with pytest.raises(InputError, match=f"a.b: unknown key '.*'; did you mean '{right}'"):
            parse_tree({"a": {"b": written}}, "")
    assert parse_tree({"inputs": ["a"]}, "") == {"inputs": ["a"]}


def test_open_values_are_found_at_any_depth():
    tree = parse_tree({"a": [{"b": {"int": [1, 2]}}, 3], 5: {"choice": [1]}}, "")
    assert tree == {"a": [{"b": Int(1, 2)}, 3], 5: Choice((1,))}
    assert find_open({"a": [1, {"b": {"int": [1, 2]}}]}, "") == "a.1.b"
    assert find_open({"a": [1, {"b": [2]}]}, "") is None
