"""Which widths of every block can change, and slices by them: equal outputs where the cut channels are zero."""

from typing import Any

import pytest

from tests.spaces.blocks.width_contract import check_widths


def case(in_channels: Any, out_channels: int, stride: int = 1, size: Any = (6, 5), **options: Any) -> dict[str, Any]:
    return {"in_channels": in_channels, "out_channels": out_channels, "stride": stride, "size": size, **options}


CASES = [
    ("concat", case((4, 6), 10, size=((6, 5), (6, 5))), [{"in_channels": (2, 3), "out_channels": 5}]),
    ("activation", case(6, 6, activation="prelu"), [{"in_channels": 4, "out_channels": 4}]),
    ("dropout", case(6, 6), [{"in_channels": 4, "out_channels": 4}]),
    ("identity", case(6, 6), [{"in_channels": 4, "out_channels": 4}]),
    ("identity", case(6, 8, 2), [{"in_channels": 4, "out_channels": 3}]),
    ("pool", case(8, 8, 2), [{"in_channels": 5, "out_channels": 5}]),
    ("pool", case(8, 8, kernel_size=4), [{"in_channels": 4, "out_channels": 4}]),
    ("conv", case(6, 8, activation="prelu"), [{"in_channels": 4, "out_channels": 3}]),
    ("conv", case(8, 8, kernel_size=2), [{"in_channels": 4, "out_channels": 3}]),
    ("conv", case(8, 12, groups=2, bias=True), [{"in_channels": 4, "out_channels": 6}]),
    ("conv", case(8, 8, group_size=1), [{"in_channels": 5, "out_channels": 5}]),
    ("conv", case(8, 16, group_size=1, kernel_size=2), [{"in_channels": 4, "out_channels": 8}]),
    ("conv", case(12, 8, group_size=3), [{"in_channels": 9, "out_channels": 6}]),
    ("depthwise_separable", case(8, 12, 2, kernel_size=5, activation="prelu"), [{"in_channels": 5, "out_channels": 7}]),
    ("depthwise_separable", case(8, 12, kernel_size=2), [{"in_channels": 4, "out_channels": 7}]),
]


@pytest.mark.parametrize(("name", "larger", "smaller"), CASES)
def test_slices_by_the_map(name, larger, smaller):
    check_widths(name, larger, smaller)
