"""Fire: the contract, and the published modules."""

import pytest

from spaces.blocks.squeezenet import Fire, fire_widths
from tests.spaces.blocks.contract import check_block


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        (96, 128, 1, (13, 13), {}),
        (8, 16, 2, (7, 10), {"squeeze_ratio": 0.5, "kernel_size": 2}),
        (16, 16, 1, (6, 5), {"bypass": True, "kernel_size": 5, "activation": "prelu"}),
        (7, 12, 1, (5, 5), {"share_3x3": 1, "norm": True}),  # no 1x1 expand
        (7, 12, 2, (5, 6), {"share_3x3": 0.01, "activation": "swish"}),  # no 3x3 expand: 0.12 channels round to none
    ],
)
def test_contract(in_channels, out_channels, stride, size, options):
    check_block("fire", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize(
    ("out_channels", "squeezed"), [(128, 16), (256, 32), (384, 48), (512, 64)]
)  # table 1 of the paper: s1x1, and e1x1 = e3x3 = 4 s1x1
def test_widths_of_the_paper(out_channels, squeezed):
    assert fire_widths(out_channels, 0.125, 0.5) == (squeezed, 4 * squeezed, 4 * squeezed)


@pytest.mark.parametrize("options", [{"squeeze_ratio": 0}, {"share_3x3": 1.5}])
def test_impossible_shares_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Fire(8, 16, **options)
