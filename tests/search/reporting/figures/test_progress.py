"""How a search went, as numbers: hypervolume, learning curves, time."""

from dataclasses import replace

import pytest

from search.reporting.figures import (
    draw_curves,
    draw_effort,
    draw_hypervolume,
    draw_timeline,
    gather_curves,
    gather_effort,
    gather_hypervolume,
)
from search.reporting.record import Record
from search.reporting.tables import table_hypervolume, trials_frame
from tests.search.reporting.fake import INFO, RECORD_INFO, fake_record

ROWS = [
    {"number": 0, "state": "complete", "accuracy": 0.8, "flops": 200_000},
    {"number": 1, "state": "failed", "flops": 200_000},
    {"number": 2, "state": "complete", "accuracy": 0.7, "flops": 100_000},
    {"number": 3, "state": "stopped", "accuracy": 0.99, "flops": 50_000},
    {"number": 4, "state": "complete", "accuracy": 0.8, "flops": 200_000, "duplicate_of": 0},
    {"number": 5, "state": "running", "flops": 200_000},
]
SPANS = {0: (1000.0, 1040.0), 1: (1000.0, 1010.0), 2: (1012.0, 1050.0), 3: (4000.0, 4010.0)}
CURVES = {0: (0.5, 0.8), 1: (0.1,), 2: (0.4, 0.7), 3: (0.99,)}
RECORD = Record(trials_frame(ROWS, []), INFO, curves=CURVES, spans=SPANS)


def test_hypervolume_follows_the_trials_as_they_ended_and_leaves_pauses_out() -> None:
    info = gather_hypervolume(RECORD)
    assert info.numbers == [1, 0, 2, 3]
    assert info.seconds == [10, 40, 50, 60]  # between 1050 and 4000 nothing ran
    assert info.volumes[0] == 0
    assert info.volumes[2] == info.volumes[3] == pytest.approx(table_hypervolume(RECORD.trials, INFO))
    over_trials, over_time = draw_hypervolume(info).data[0], draw_hypervolume(info, "time").data[0]
    assert list(over_trials.x) == [1, 2, 3, 4]
    assert list(over_time.x) == info.seconds
    assert list(over_time.y) == info.volumes


def test_hypervolume_without_times_is_known_over_trials_alone() -> None:
    info = gather_hypervolume(Record(trials_frame(ROWS, []), INFO))
    assert info.numbers == [0, 1, 2, 3]
    assert info.seconds == []
    assert len(draw_hypervolume(info, "time").data[0].x) == 0


def test_curves_are_told_apart_by_what_became_of_the_trial() -> None:
    info = gather_curves(RECORD)
    assert info.numbers == {"failed": [1], "dominated": [], "stopped": [3], "front": [0, 2]}
    assert info.curves["front"] == [(0.5, 0.8), (0.4, 0.7)]
    drawn = {trace.meta: trace for trace in draw_curves(info).data}
    assert list(drawn["front"].y) == [0.5, 0.8, None, 0.4, 0.7]
    assert list(drawn["front"].x) == [1, 2, None, 1, 2]
    assert list(drawn["front"].customdata) == [0, 0, None, 2, 2]
    assert len({trace.marker.symbol for trace in drawn.values()}) == 3
    assert draw_curves(info).layout.xaxis.dtick == 1, "whole epochs, each once"


def test_a_curve_of_one_epoch_is_a_mark() -> None:
    record = replace(RECORD, curves={number: curve[:1] for number, curve in RECORD.curves.items()})
    for trace in draw_curves(gather_curves(record)).data:
        sizes = [size for size, x in zip(trace.marker.size, trace.x, strict=True) if x is not None]
        assert min(sizes) >= 5


def test_of_very_many_curves_the_front_and_an_even_sample_are_shown() -> None:
    record = fake_record(600)
    info = gather_curves(record)
    everything = {n for numbers in info.numbers.values() for n in numbers}
    shown = len(everything) - len(info.numbers["front"])
    assert 290 <= shown <= 310
    assert len(everything) + info.num_left_out == len(record.curves)
    assert all(info.curves[kind][0] == record.curves[info.numbers[kind][0]] for kind in info.numbers)


def test_time_is_shared_out_among_outcomes_and_what_is_between() -> None:
    info = gather_effort(RECORD)
    assert info.seconds == {"front": 78, "dominated": 0, "stopped": 10, "failed": 10, "between": 22}
    assert info.counts == {"front": 2, "dominated": 0, "stopped": 1, "failed": 1}
    assert [(bar.number, bar.lane, bar.start, bar.end) for bar in info.bars] == [
        (1, 0, 0, 10),
        (0, 1, 0, 40),
        (2, 0, 12, 50),
        (3, 0, 50, 60),
    ]
    bars = draw_effort(info).data[0]
    assert sum(bars.x) == pytest.approx(1)
    assert list(bars.customdata) == [78, 10, 10, 22]
    assert sum(len([x for x in trace.x if x is not None]) for trace in draw_timeline(info).data) == 8


def test_a_study_without_trials_can_be_drawn() -> None:
    empty = Record(trials_frame([], []), RECORD_INFO)
    assert gather_hypervolume(empty).volumes == []
    for figure in (
        draw_hypervolume(gather_hypervolume(empty), "time"),
        draw_curves(gather_curves(empty)),
        draw_effort(gather_effort(empty)),
        draw_timeline(gather_effort(empty)),
    ):
        assert sum(len(trace.x) for trace in figure.data) == 0
