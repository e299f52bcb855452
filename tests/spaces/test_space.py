"""Search spaces: every answer follows from the description, and whatever they produce can be built."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from spaces import SearchSpace, build, decode, layer_costs
from spaces.errors import InputError
from spaces.values import Choice
from tests.spaces.counting import count_layers

IMAGE = {"in_channels": 3, "num_classes": 10, "resolution": 16}


def choice(*options, **name):
    return {"choice": list(options), **name}


def make(*layers, train=None, **top):
    return SearchSpace({**IMAGE, "layers": [*layers], **top}, train)


SPACES = {
    "nothing open": make({"block": "conv", "channels": 8}),
    "plain": make(
        {"block": "conv", "channels": choice(8, 16), "kernel_size": {"int": [1, 3]}}, width_multiplier=choice(0.5, 1.0)
    ),
    "tied": make(
        {"block": "conv", "channels": 8, "kernel_size": choice(3, 5, name="k")},
        {"block": "conv", "channels": 8, "kernel_size": choice(3, 5, name="k"), "repeat": choice(1, 2)},
    ),
    "nested": make(
        {"block": "conv", "channels": 8},
        {
            "block": choice(
                {"conv": {"groups": choice(1, 2, 4), "kernel_size": choice(1, 3)}},
                {"inverted_residual": {"expand_ratio": {"int": [2, 4]}, "squeeze_ratio": choice(0, 0.25)}},
                "identity",
            ),
            "channels": 8,
        },
        head={"pool": choice("avg", "max")},
    ),
    "nested in a tie": make(
        {"block": choice({"conv": {"kernel_size": choice(1, 3, 5)}}, "identity", name="b"), "channels": 8},
        {"block": choice({"conv": {"kernel_size": choice(1, 3, 5)}}, "identity", name="b"), "channels": 16},
        {
            "block": choice(
                {"conv": {"kernel_size": choice(2, 4, name="t")}},
                {"mbconv": {"kernel_size": choice(2, 4, name="t")}},
                "pool",
            )
        },
        {"block": choice("conv", {"conv": {"kernel_size": choice(2, 4, name="t")}}), "channels": 8},
    ),
    "whole layers": make(
        {"block": "conv", "channels": 8},
        choice(
            {"block": "conv", "channels": {"int": [8, 10]}, "stride": choice(1, 2)},
            {"block": "pool", "stride": 2},
            {"block": choice("shufflenet_v2", {"shufflenet_v1": {"groups": choice(2, 3)}}), "channels": 16},
        ),
        head=choice({"pool": "avg"}, {"pool": "pyramid", "levels": choice([1], [1, 2])}),
        resolution=choice([16, 12], 8),
    ),
    "inputs and activation": make(
        {"block": "conv", "channels": 8, "name": "a"},
        {"block": "conv", "channels": 12, "name": "b"},
        {"block": "concat", "inputs": [choice("a", "image"), choice(-1, "a")]},
        activation=choice("relu", "prelu", None),
    ),
    "training": make(
        {"block": "conv", "channels": 8},
        train={
            "lr": choice(0.1, 0.01),
            "optimizer": choice({"sgd": {"momentum": choice(0, 0.9)}}, "adamw"),
            "epochs": 3,
        },
    ),
}
ALL = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def answered(space: SearchSpace, answers: list[int]) -> tuple[dict, list[int]]:
    """The decisions of some answers (the first option where none is left), and how many options each question had."""
    num_options: list[int] = []

    def choose(decision):
        domain = decision.domain
        values = domain.labels if isinstance(domain, Choice) else range(domain.low, domain.high + 1)
        num_options.append(len(values))
        asked = len(num_options)
        return values[answers[asked - 1] if asked <= len(answers) else 0]

    return space.decide(choose), num_options


def all_decisions(space: SearchSpace) -> Iterator[dict]:
    """Every set of decisions, by trying all answers to all questions."""
    answers: list[int] | None = []
    while answers is not None:
        decisions, num_options = answered(space, answers)
        yield decisions
        answers += [0] * (len(num_options) - len(answers))
        while answers and answers[-1] == num_options[len(answers) - 1] - 1:
            answers.pop()
        answers = [*answers[:-1], answers[-1] + 1] if answers else None


@ALL
def test_size_is_the_number_of_decisions_one_can_make(space):
    every = {tuple(sorted(decisions.items(), key=str)) for decisions in all_decisions(space)}
    assert space.size == len(every)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("plain", 2 * 3 * 2),
        ("tied", 2 * 2),
        ("nested", (3 * 2 + 3 * 2 + 1) * 2),
        ("whole layers", (3 * 2 + 1 + (1 + 2)) * (1 + 2) * 2),
    ],
)
def test_size_by_hand(name, size):
    assert SPACES[name].size == size


def test_size_of_large_and_of_endless_spaces():
    many = make(*[{"block": "conv", "channels": 8, "kernel_size": choice(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)}] * 400)
    assert many.size == 10**400
    assert make({"block": "conv", "channels": 8}, width_multiplier={"float": [0.5, 1.0]}).size == math.inf


@ALL
def test_every_candidate_is_built_priced_and_read_back(space):
    for decisions in all_decisions(space):
        architecture = space.candidate(decisions).architecture
        assert layer_costs(architecture) == count_layers(architecture)
        assert decode(architecture.to_dict()) == architecture
        build(architecture)


@ALL
def test_encodings_tell_all_decisions_apart(space):
    rows = [space.encode(decisions) for decisions in all_decisions(space)]
    assert len({row.tobytes() for row in rows}) == space.size
    assert all(row.shape == (space.num_columns,) and ((row >= 0) & (row <= 1)).all() for row in rows)


def test_encoding_by_hand():
    space = SPACES["nested"]
    row = {
        "layers.1.block": "conv",
        "layers.1.block.conv.groups": 2,
        "layers.1.block.conv.kernel_size": 3,
        "head.pool": "max",
    }
    # one-hot block, rank of the groups and of the kernel, inactive expand_ratio and squeeze_ratio, pool
    assert space.encode(row).tolist() == [1, 0, 0, 0.5, 1, 0.5, 0.5, 1]


@ALL
def test_samples_follow_the_seed(space):
    draws = [[space.sample(rng) for _ in range(20)] for rng in (np.random.default_rng(0), np.random.default_rng(0))]
    assert draws[0] == draws[1]
    other = [space.sample(rng) for rng in [np.random.default_rng(1)] for _ in range(20)]
    assert draws[0] != other or space.size == 1


@ALL
def test_samples_reach_everything(space):
    rng = np.random.default_rng(0)
    seen = {tuple(sorted(space.sample(rng).items(), key=str)) for _ in range(60 * int(space.size))}
    assert len(seen) == space.size


def test_every_option_of_an_active_decision_is_equally_likely():
    rng = np.random.default_rng(0)
    draws = [SPACES["nested"].sample(rng) for _ in range(3000)]
    shares = [
        sum(d["layers.1.block"] == block for d in draws) / 3000 for block in ("conv", "inverted_residual", "identity")
    ]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.04)


@ALL
def test_neighbours_differ_in_one_decision_that_both_have(space):
    rng = np.random.default_rng(0)
    valid = [*all_decisions(space)]
    for _ in range(10):
        here = space.sample(rng)
        near = space.neighbours(here, rng)
        assert all(other in valid for other in near)
        changed = [[name for name in here.keys() & other.keys() if here[name] != other[name]] for other in near]
        assert all(len(names) == 1 for names in changed)
        assert {name for names in changed for name in names} == {n for n in here if _num_values(space, n) > 1}


def _num_values(space, name):
    return next(d.domain.num_values for d in space.decisions if d.name == name)


def test_inactive_decisions_change_nothing():
    space = SPACES["nested"]
    base = {"layers.1.block": "identity", "head.pool": "avg"}
    candidate = space.candidate({**base, "layers.1.block.conv.groups": 4, "something else": 1})
    assert candidate.decisions == base
    assert candidate.digest == space.candidate(base).digest


def test_completing_keeps_what_is_active_and_draws_the_rest():
    space = SPACES["nested"]
    given = {
        "layers.1.block": "conv",
        "layers.1.block.conv.groups": 4,
        "layers.1.block.inverted_residual.expand_ratio": 3,
    }
    completed = space.complete(given, np.random.default_rng(0))
    assert completed.keys() == {
        "layers.1.block",
        "layers.1.block.conv.groups",
        "layers.1.block.conv.kernel_size",
        "head.pool",
    }
    assert completed["layers.1.block.conv.groups"] == 4


@pytest.mark.parametrize(
    ("decisions", "words"),
    [
        ({}, ["no value for the decision 'width_multiplier'"]),
        (
            {"width_multiplier": 0.7, "layers.0.channels": 8, "layers.0.kernel_size": 1},
            ["width_multiplier cannot be 0.7", "one of 0.5, 1.0"],
        ),
        (
            {"width_multiplier": 1.0, "layers.0.channels": 8, "layers.0.kernel_size": 4},
            ["cannot be 4", "whole number from 1 to 3"],
        ),
    ],
)
def test_decisions_outside_the_space_are_refused(decisions, words):
    with pytest.raises(InputError) as caught:
        SPACES["plain"].candidate(decisions)
    assert all(word in str(caught.value) for word in words)


def test_decisions_are_named_by_their_path_or_their_tie():
    assert [d.name for d in SPACES["nested in a tie"].decisions] == [
        "b",
        "b.conv.kernel_size",
        "layers.2.block",
        "t",
        "layers.3.block",
    ]
    assert [d.name for d in SPACES["training"].decisions] == [
        "train.lr",
        "train.optimizer",
        "train.optimizer.sgd.momentum",
    ]
    assert [d.name for d in SPACES["whole layers"].decisions][:4] == [
        "resolution",
        "layers.1",
        "layers.1.conv.channels",
        "layers.1.conv.stride",
    ]


def test_tied_values_are_decided_once():
    candidate = SPACES["tied"].candidate({"k": 5, "layers.1.repeat": 2})
    assert [layer.keywords for layer in candidate.architecture.layers] == [{"kernel_size": 5}] * 3 + [{}]


def test_training_values_are_decided_with_the_network_and_are_part_of_the_digest():
    space = SPACES["training"]
    one = space.candidate({"train.lr": 0.1, "train.optimizer": "sgd", "train.optimizer.sgd.momentum": 0.9})
    other = space.candidate({"train.lr": 0.01, "train.optimizer": "adamw"})
    assert one.hyperparameters == {"lr": 0.1, "optimizer": {"sgd": {"momentum": 0.9}}, "epochs": 3}
    assert other.hyperparameters == {"lr": 0.01, "optimizer": "adamw", "epochs": 3}
    assert one.architecture.digest == other.architecture.digest
    assert one.digest != other.digest


def test_the_image_given_replaces_the_descriptions():
    space = SearchSpace(
        {**IMAGE, "layers": [{"block": "conv", "channels": 8}]}, in_channels=1, num_classes=5, resolution=(8, 9)
    )
    architecture = space.candidate({}).architecture
    assert (architecture.in_channels, architecture.num_classes, architecture.resolution) == (1, 5, (8, 9))


@ALL
def test_check_accepts_what_can_be_built(space):
    space.check()


@ALL
def test_coverage_holds_every_option_and_both_ends(space):
    decided = {item for candidate in space.coverage() for item in candidate.decisions.items()}
    wanted = {item for decisions in all_decisions(space) for item in decisions.items()}
    inner = {
        (d.name, v)
        for d in space.decisions
        if not isinstance(d.domain, Choice)
        for v in range(d.domain.low + 1, d.domain.high)
    }
    assert wanted - inner <= decided <= wanted
