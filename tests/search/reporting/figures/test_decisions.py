"""Which decisions paid, against functions whose shares are known."""

import numpy as np
import pytest

from search.reporting.figures import (
    draw_importance,
    draw_options,
    draw_parallel,
    gather_importance,
    gather_options,
    gather_parallel,
)
from search.reporting.figures.decisions import ABSENT, mean_at_cost, option_labels, short_name
from search.reporting.record import Record
from search.reporting.tables import completed, front, trials_frame
from tests.search.reporting.fake import HOSTILE, INFO, fake_record


def additive(num_trials: int = 400) -> Record:
    """Accuracy is a sum: variances 4 (a), 1 (b) and, in the half in which it exists, 1 (c); d means nothing; cost follows a."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(num_trials):
        a, b, c, d = (int(v) for v in rng.integers(0, 2, 4))
        has_c = bool(rng.integers(0, 2))
        accuracy = 0.5 + 0.02 * (2 * a - 1) + 0.01 * (2 * b - 1) + has_c * 0.01 * (2 * c - 1)
        rows.append(
            {
                "number": number,
                "state": "complete",
                "accuracy": accuracy,
                "flops": 100_000 * (1 + a) + number % 7,
                "a": ("low", "high")[a],
                "b": b,
                "c": c if has_c else None,
                "d": f"{HOSTILE} {d}",
                "same": 1,
            }
        )
    return Record(trials_frame(rows, ["a", "b", "c", "d", "same"]), INFO)


def test_importance_is_the_share_of_the_variance() -> None:
    info = gather_importance(additive())
    shares = dict(zip(info.decisions, info.accuracy, strict=True))
    assert info.decisions[:3] == ["a", "b", "c"]
    assert set(shares) == {"a", "b", "c", "d"}  # what is the same everywhere explains nothing
    total = 4 + 1 + 0.5
    assert shares["a"] == pytest.approx(4 / total, abs=0.04)
    assert shares["b"] == pytest.approx(1 / total, abs=0.04)
    assert shares["c"] == pytest.approx(0.5 / total, abs=0.04)
    assert shares["d"] < 0.01


def test_networks_from_outside_the_space_are_not_compared_by_its_decisions() -> None:
    record = additive(40)
    outside = [{"number": 40 + n, "state": "complete", "accuracy": 0.01, "flops": 10**7, "name": "x"} for n in range(5)]
    rows = [*record.trials.to_dict("records"), *outside]
    more = Record(trials_frame(rows, ["a", "b", "c", "d", "same"]), INFO)
    assert gather_importance(more) == gather_importance(record)
    assert gather_options(more) == gather_options(record)


def test_at_equal_cost_what_only_costs_explains_nothing() -> None:
    info = gather_importance(additive())
    shares = dict(zip(info.decisions, info.equal_cost, strict=True))
    assert shares["a"] < 0.05
    assert shares["b"] > 0.4


def test_the_mean_at_a_cost_is_that_of_the_nearest_others() -> None:
    costs = np.array([1, 1.1, 1.2, 1.3, 100, 101, 102, 103])
    accuracies = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert mean_at_cost(accuracies, costs)[[0, 7]] == pytest.approx([0.3, 0.6])


def test_few_trials_say_nothing_of_importance() -> None:
    info = gather_importance(additive(9))
    assert (info.decisions, info.num_trials) == ([], 9)
    assert len(draw_importance(info).data) == 0
    assert gather_importance(Record(trials_frame([], []), INFO)).num_trials == 0


def test_each_option_has_the_front_of_its_own_trials() -> None:
    record = fake_record(150)
    complete = completed(record.trials)
    infos = {info.decision: info for info in gather_options(record, "params")}
    for option in infos["layers.1.block"].options:
        members = front(complete[complete["layers.1.block"] == option.label], "params")
        assert option.numbers == members["number"].tolist()
        assert option.costs == members["params"].tolist()
        assert option.accuracies == members["accuracy"].tolist()
        assert option.num_trials == (complete["layers.1.block"] == option.label).sum()
    assert len(infos["train.lr"].options) == 4  # ranges of about as many trials each
    sizes = [option.num_trials for option in infos["train.lr"].options]
    assert max(sizes) - min(sizes) <= 2


def test_traits_answer_the_question_of_the_space() -> None:
    record = fake_record(80)
    infos = {info.decision: info for info in gather_options(record) if info.is_trait}
    two = infos["2x2 filters"]
    assert [option.label for option in two.options] == ["with 2x2 filters", "without 2x2 filters"]
    complete = completed(record.trials)
    sizes = [name for name in complete if name.endswith("kernel_size")]
    has = (complete[sizes] == 2).any(axis=1)
    # a ShuffleNet unit has its own filters, any other those that were decided
    assert two.options[0].num_trials == has.sum()
    assert "pointwise (1x1) convolutions" in infos
    assert "shuffle_agg" in infos
    drawn = draw_options(two).data
    assert list(drawn[0].x)[:-1] == two.options[0].costs
    assert len({(trace.line.dash, trace.marker.symbol, trace.line.color) for trace in drawn}) == 2


def test_options_in_words() -> None:
    assert option_labels([2, 3, 2]) == ["2", "3", "2"]
    assert option_labels(["a", None, True]) == ["a", None, "True"]
    labels = option_labels(np.linspace(0, 1, 101).tolist())
    assert labels[0] == "0 to 0.25"
    assert labels[100] == "0.75 to 1"


def test_parallel_lines_cross_each_axis_where_the_trial_is() -> None:
    record = fake_record(60)
    info = gather_parallel(record, gather_importance(record))
    complete = completed(record.trials).sort_values("accuracy", kind="stable")
    assert info.numbers == complete["number"].tolist()
    cost, *decisions, accuracy = info.axes
    assert np.allclose(10 ** np.array(cost.values), complete["flops"].astype(float))
    assert accuracy.values == complete["accuracy"].tolist()
    for axis in decisions:
        ticks = dict(axis.ticks)
        for place, value in zip(axis.values, complete[axis.name], strict=True):
            if value is None:
                assert ticks[place] == ABSENT
            elif not isinstance(value, float):
                assert ticks[place] == str(value)[:17] + "…" * (len(str(value)) > 18) or ticks[place] == str(value)
    assert len(draw_parallel(info).data[0].dimensions) == len(info.axes)


def test_names_are_short() -> None:
    assert short_name("layers.1.block.shuffle_agg.groups") == "layers.1 shuffle_agg groups"
    assert short_name("layers.1.block") == "layers.1 block"
    assert short_name("train.lr") == "train lr"
    assert short_name("width_multiplier") == "width_multiplier"


def test_nothing_can_be_drawn_of_nothing() -> None:
    empty = Record(trials_frame([], ["a"]), INFO)
    assert gather_options(empty) == []
    assert len(draw_parallel(gather_parallel(empty, gather_importance(empty))).data) == 0
