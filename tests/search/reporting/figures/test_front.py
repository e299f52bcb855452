"""What figures show, apart from how they are drawn; then that the drawing holds it."""

import pandas as pd

from search.reporting.figures import DARK, LIGHT, FrontInfo, draw_front, figure_summary
from search.reporting.figures import front as figures
from search.reporting.figures.front import accuracy_range, cost_range
from search.reporting.figures.theme import colours
from search.reporting.record import Record
from search.reporting.tables import StudyInfo, front, trials_frame
from tests.search.reporting.fake import HOSTILE, INFO, fake_trials

ROWS = [
    {
        "number": 0,
        "state": "complete",
        "accuracy": 0.8,
        "flops": 2000,
        "params": 9,
        "reward": 0.5,
        "epochs": 1,
        "seconds": 65.0,
    },
    {"number": 1, "state": "complete", "accuracy": 0.7, "flops": 1000, "params": 20},
    {"number": 2, "state": "complete", "accuracy": 0.7, "flops": 1500, "params": 30, "width": HOSTILE},
    {"number": 3, "state": "stopped", "accuracy": 0.3, "flops": 100, "params": 1},
    {"number": 4, "state": "failed", "flops": 10_000, "params": 1, "failure": "out of <memory>"},
    {"number": 5, "state": "complete", "accuracy": 0.8, "flops": 2000, "params": 9, "duplicate_of": 0},
    {"number": 6, "state": "running", "flops": 50},
    {"number": 7, "state": "failed", "failure": "the worker died"},
    {"number": 8, "state": "stopped", "accuracy": 0.3, "flops": 100, "params": 1, "duplicate_of": 3},
    {"number": 9, "state": "failed", "flops": 10_000, "params": 1, "duplicate_of": 4},
    {"number": 10, "state": "infeasible", "flops": 10, "params": 10**6, "failure": "params 1e+06 > 100"},
]
TRIALS = trials_frame(ROWS, ["width"])


def gather_front(trials: pd.DataFrame, info: StudyInfo, cost: str = "flops") -> FrontInfo:
    return figures.gather_front(Record(trials, info), cost)


def test_trials_are_told_apart() -> None:
    info = gather_front(TRIALS, INFO)
    assert info.front.numbers == [1, 0]
    assert info.front.costs == [1000, 2000]
    assert info.front.accuracies == [0.7, 0.8]
    assert info.dominated.numbers == [2]
    assert (info.stopped.numbers, info.stopped.accuracies) == ([3], [0.3])
    assert (info.failed.numbers, info.failed.costs) == ([4], [10_000])
    assert (info.infeasible.numbers, info.infeasible.costs) == ([10], [10])


def test_networks_of_the_literature_are_drawn_over_the_others_with_their_names() -> None:
    names = [None, HOSTILE, *[None] * 2, "squeezenet", *[None] * 4, "squeezenet", None]
    trials = TRIALS.assign(name=names)
    info = gather_front(trials, INFO)
    assert info.front.numbers == [1, 0]  # on the front as any other trial
    assert (info.reference.numbers, info.reference.costs) == ([1], [1000])  # a failed one has no accuracy to show
    assert info.reference_names == [HOSTILE]
    trace = next(trace for trace in draw_front(info).data if trace.meta == "reference")
    assert "<script" not in trace.text[0]


def test_names_of_references_stay_within_the_chart_and_off_each_other() -> None:
    named = [(100, 0.5), (1000, 0.5), (90_000, 0.8), (80_000, 0.8)]
    rows = [
        {"number": n, "state": "complete", "accuracy": accuracy, "flops": flops, "params": 1, "name": f"net{n}"}
        for n, (flops, accuracy) in enumerate(named)
    ]
    info = gather_front(trials_frame(rows, []), INFO)
    trace = next(trace for trace in draw_front(info).data if trace.meta == "reference")
    places = dict(zip(trace.customdata, trace.textposition, strict=True))
    assert places == {0: "middle right", 1: "middle right", 2: "top left", 3: "bottom left"}


def test_what_was_measured_stands_beside_what_was_predicted() -> None:
    latencies = [2.0, 1.0, 1.5, *[None] * 8]
    trials = TRIALS.assign(latency_ms=latencies, measured_ms=[2.5, 0.9, 1.7, *[None] * 8])
    info = gather_front(trials, INFO, "latency_ms")
    assert (info.front.numbers, info.front.costs, info.measured) == ([1, 0], [1.0, 2.0], [0.9, 2.5])
    assert cost_range(info)[1] > 2.5
    drawn = draw_front(info)
    trace = next(trace for trace in drawn.data if trace.meta == "measured")
    assert (trace.x, trace.y) == ((1.0, 0.9, None, 2.0, 2.5), (0.7, 0.7, None, 0.8, 0.8))
    assert drawn.layout.xaxis.title.text == "Latency (ms), predicted"
    assert gather_front(trials, INFO).measured == [], "it is milliseconds"


def test_another_cost_has_another_front() -> None:
    info = gather_front(TRIALS, INFO, "params")
    assert info.front.numbers == [0]
    assert info.dominated.numbers == [1, 2]


def test_hovering_tells_metrics_and_decisions_as_text() -> None:
    info = gather_front(TRIALS, INFO)
    assert info.front.texts[1] == (
        "<b>Trial 0</b> · on the front<br>accuracy 80.00% · reward 0.500<br>2.00 k FLOPs · 9 parameters<br>1 epoch · 1:05"
    )
    hostile = info.dominated.texts[0]
    assert "&lt;script&gt;" in hostile
    assert "<script" not in hostile
    assert "<img" not in hostile
    assert info.failed.texts[0].endswith("out of &lt;memory&gt;")


def test_a_long_list_of_decisions_is_cut() -> None:
    names = [f"layers.{i}.repeat" for i in range(100)]
    trials = trials_frame([{**ROWS[0], **dict.fromkeys(names, 1)}], names)
    text = gather_front(trials, INFO).front.texts[0]
    assert text.count("<br>") < 30
    assert text.endswith("the rest is in trials.csv")


def test_drawing_holds_what_was_gathered() -> None:
    info = gather_front(TRIALS, INFO)
    for figure in (draw_front(info), draw_front(info, DARK)):
        traces = {trace.meta: trace for trace in figure.data}
        for kind in ("front", "dominated", "stopped"):
            points = getattr(info, kind)
            assert list(traces[kind].x) == points.costs
            assert list(traces[kind].y) == points.accuracies
            assert list(traces[kind].hovertext) == points.texts
        assert list(traces["failed"].x) == info.failed.costs
        assert len({trace.marker.symbol for trace in figure.data if "markers" in trace.mode}) == 6
        # level from each point to the next cost; the last level up to the dearest trial
        assert list(traces["area"].x) == [1000, 2000, 10_000]
        assert list(traces["area"].y) == [0.7, 0.8, 0.8]
        assert traces["area"].line.shape == "hv"
        assert figure.layout.xaxis.type == "log"
    assert draw_front(info).layout.font.color != draw_front(info, DARK).layout.font.color


def test_networks_that_were_trained_again_stand_at_their_mean_with_its_spread() -> None:
    trials = TRIALS.assign(accuracy_mean=[0.69, None, 0.75, *[None] * 8], accuracy_std=[0.02, None, 0.01, *[None] * 8])
    trials["confirmations"] = [3, None, 3, *[None] * 8]
    info = gather_front(trials, INFO)
    assert (info.front.numbers, info.front.accuracies, info.front.spreads) == ([1, 2], [0.7, 0.75], [0.0, 0.01])
    assert (info.dominated.numbers, info.dominated.accuracies) == ([0], [0.69])
    assert "under 3 other seeds 75.00% ± 1.00%" in info.front.texts[1]
    trace = next(trace for trace in draw_front(info).data if trace.meta == "front")
    assert list(trace.error_y.array) == [0.0, 0.01]


def test_themes_can_be_told_apart_and_exchanged_colour_by_colour() -> None:
    for theme in (LIGHT, DARK):
        assert len(set(colours(theme))) == len(colours(theme))
    assert len(colours(LIGHT)) == len(colours(DARK))
    assert not set(colours(LIGHT)) & set(colours(DARK))


def test_many_points_are_drawn_by_the_graphics_card() -> None:
    few, many = (gather_front(fake_trials(n), INFO) for n in (60, 2000))
    assert {trace.type for trace in draw_front(few).data} == {"scatter"}
    types = {trace.meta: trace.type for trace in draw_front(many).data}
    assert types["dominated"] == "scattergl"
    assert types["front"] == "scatter"


def test_everything_lies_within_the_axes() -> None:
    trials = fake_trials(300)
    info = gather_front(trials, INFO)
    drawn = trials[trials["state"].isin(["complete", "stopped"])]
    low, high = accuracy_range(info)
    assert low < drawn["accuracy"].min() < drawn["accuracy"].max() < high
    assert cost_range(info)[0] < drawn["flops"].min() < drawn["flops"].max() < cost_range(info)[1]
    assert info.front.numbers == front(trials, "flops")["number"].tolist()


def test_what_lies_far_below_does_not_flatten_the_front() -> None:
    rows = [{"number": i, "state": "complete", "accuracy": 0.97 + i / 1000, "flops": 100 - i} for i in range(20)]
    failures = [{"number": 20 + i, "state": "complete", "accuracy": 0.1 + i / 10, "flops": 200} for i in range(2)]
    low = accuracy_range(gather_front(trials_frame(rows, []), INFO))[0]
    info = gather_front(trials_frame([*rows, *failures], []), INFO)
    assert accuracy_range(info)[0] == low
    assert [note.text for note in draw_front(info).layout.annotations] == ["2 more below, up to 20.00%"]
    cheap = [{**trial, "flops": 1} for trial in failures]  # on the front, both would be seen
    assert accuracy_range(gather_front(trials_frame([*rows, *cheap[1:]], []), INFO))[0] < 0.2


def test_where_most_are_alike_what_is_near_them_is_shown() -> None:
    rows = [{"number": i, "state": "complete", "accuracy": 0.99, "flops": 100} for i in range(30)]
    rows += [{"number": 30 + i, "state": "complete", "accuracy": 0.98, "flops": 200} for i in range(5)]
    info = gather_front(trials_frame(rows, []), INFO)
    assert accuracy_range(info)[0] < 0.98
    assert not draw_front(info).layout.annotations


def test_a_study_without_trials_can_be_drawn() -> None:
    info = gather_front(trials_frame([], []), INFO)
    assert sum(len(trace.x) for trace in draw_front(info).data) == 0
    assert figure_summary(info) == "Accuracy against FLOPs (multiply-adds): no trial is complete yet."


def test_one_trial_has_a_range_around_it() -> None:
    info = gather_front(TRIALS[TRIALS["number"] == 0], INFO)
    assert cost_range(info)[0] < 2000 < cost_range(info)[1]
    assert accuracy_range(info)[0] < 0.8 < accuracy_range(info)[1]


def test_the_chart_in_a_sentence() -> None:
    assert figure_summary(gather_front(TRIALS, INFO)) == (
        "Accuracy against FLOPs (multiply-adds): a front of 2 from 70.00% at 1.00 k to 80.00% at 2.00 k; "
        "1 dominated, 1 stopped early, 1 failed."
    )
