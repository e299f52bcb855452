"""The figures of one study by name, for its page and for Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache

import plotly.graph_objects as go

from search.reporting.figures.decisions import (
    ImportanceInfo,
    OptionsInfo,
    draw_importance,
    draw_parallel,
    gather_importance,
    gather_options,
    gather_parallel,
)
from search.reporting.figures.front import FrontInfo, draw_front, gather_front
from search.reporting.figures.progress import (
    CurvesInfo,
    EffortInfo,
    draw_curves,
    draw_effort,
    draw_hypervolume,
    draw_timeline,
    gather_curves,
    gather_effort,
    gather_hypervolume,
)
from search.reporting.record import Record


class StudyFigures:
    """Gathers what the figures of a study show, once each, and draws them.

    Args:
        record: the study.
        hover: whether the front's marks carry the text that Plotly shows under the pointer.
    """

    def __init__(self, record: Record, *, hover: bool = True) -> None:
        self._record = record
        self.front: Callable[[str], FrontInfo] = lru_cache(lambda cost: gather_front(record, cost, hover=hover))
        """Gathers the front against a cost."""
        self.options: Callable[[str], list[OptionsInfo]] = lru_cache(lambda cost: list(gather_options(record, cost)))
        """Gathers the fronts of every decision's and trait's options, against a cost."""

    @cached_property
    def importance(self) -> ImportanceInfo:
        """How much each decision explains."""
        return gather_importance(self._record)

    @cached_property
    def curves(self) -> CurvesInfo:
        """Learning curves."""
        return gather_curves(self._record)

    @cached_property
    def effort(self) -> EffortInfo:
        """Where time went."""
        return gather_effort(self._record)

    def draw(self, name: str, cost: str) -> go.Figure:
        """Draws one of `FIGURES`; those that show no cost ignore it.

        Raises:
            KeyError: there is no figure of this name.
        """
        return FIGURES[name](self, cost)

    def hypervolume(self, axis: str) -> go.Figure:
        """Draws the hypervolume over "trials" or over "time"."""
        return draw_hypervolume(gather_hypervolume(self._record), axis)

    def parallel(self, cost: str) -> go.Figure:
        """Draws the parallel coordinates of decisions, accuracy and a cost."""
        return draw_parallel(gather_parallel(self._record, self.importance, cost))


FIGURES: Mapping[str, Callable[[StudyFigures, str], go.Figure]] = {
    "front": lambda figures, cost: draw_front(figures.front(cost)),
    "hypervolume": lambda figures, cost: figures.hypervolume("trials"),
    "hypervolume_over_time": lambda figures, cost: figures.hypervolume("time"),
    "curves": lambda figures, cost: draw_curves(figures.curves),
    "importance": lambda figures, cost: draw_importance(figures.importance),
    "parallel": lambda figures, cost: figures.parallel(cost),
    "effort": lambda figures, cost: draw_effort(figures.effort),
    "timeline": lambda figures, cost: draw_timeline(figures.effort),
}
"""The figures that need no decision, by name: front; hypervolume over trials and over wall time; learning curves; importance of
decisions; parallel coordinates; where time went."""
