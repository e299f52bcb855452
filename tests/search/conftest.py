"""A small space and instant evaluations, for tests of everything around training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from search.study.study import Outcome, Proposal
from spaces import SearchSpace

SMALL: dict[str, Any] = {
    "width_multiplier": {"choice": [0.5, 0.75, 1.0]},
    "layers": [
        {"block": "conv", "channels": 16, "kernel_size": {"choice": [2, 3, 5]}},
        {
            "block": {
                "choice": [
                    {"conv": {"groups": {"choice": [2, 4]}}},
                    {"inverted_residual": {"expand_ratio": {"int": [2, 6]}}},
                ]
            },
            "channels": 32,
            "repeat": {"int": [1, 3]},
            "stride": 2,
        },
    ],
    "head": {"dropout": {"choice": [0.0, 0.1]}},
}


@pytest.fixture
def small_space() -> SearchSpace:
    """3 widths, 3 kernels, 2 blocks with 2 or 5 values below them, 1 to 3 repetitions, 2 heads: 378 sets of decisions."""
    return SearchSpace(SMALL, in_channels=1, num_classes=10, resolution=8)


def instant_outcome(proposal: Proposal) -> Outcome:
    """An accuracy that rises with cost, unevenly, as a function of the architecture alone."""
    digest = int(proposal.candidate.architecture.digest, 16)
    accuracy = 1 - 1 / (1 + proposal.costs["flops"] / 3e4) - (digest % 97) / 1000
    return Outcome("complete", max(0.0, accuracy), None, 1, 0.0, (max(0.0, accuracy),))


def readme_example(word: str) -> str:
    """The README's Python example in which a word stands."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = [code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if word in code]
    return str(example)
