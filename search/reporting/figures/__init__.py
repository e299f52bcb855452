"""Figures: first all numbers and texts of one, gathered from a study's record; then its drawing with Plotly."""

from search.reporting.figures.comparison import ComparisonInfo, draw_bands, draw_fronts, gather_comparison
from search.reporting.figures.decisions import (
    ImportanceInfo,
    OptionsInfo,
    ParallelInfo,
    draw_importance,
    draw_options,
    draw_parallel,
    gather_importance,
    gather_options,
    gather_parallel,
)
from search.reporting.figures.front import FrontInfo, draw_front, figure_summary, gather_front
from search.reporting.figures.progress import (
    CurvesInfo,
    EffortInfo,
    HypervolumeInfo,
    draw_curves,
    draw_effort,
    draw_hypervolume,
    draw_timeline,
    gather_curves,
    gather_effort,
    gather_hypervolume,
)
from search.reporting.figures.study import FIGURES, StudyFigures
from search.reporting.figures.theme import DARK, LIGHT, Theme

__all__ = [
    "DARK",
    "FIGURES",
    "LIGHT",
    "ComparisonInfo",
    "CurvesInfo",
    "EffortInfo",
    "FrontInfo",
    "HypervolumeInfo",
    "ImportanceInfo",
    "OptionsInfo",
    "ParallelInfo",
    "StudyFigures",
    "Theme",
    "draw_bands",
    "draw_curves",
    "draw_effort",
    "draw_front",
    "draw_fronts",
    "draw_hypervolume",
    "draw_importance",
    "draw_options",
    "draw_parallel",
    "draw_timeline",
    "figure_summary",
    "gather_comparison",
    "gather_curves",
    "gather_effort",
    "gather_front",
    "gather_hypervolume",
    "gather_importance",
    "gather_options",
    "gather_parallel",
]
