"""Which widths of every block can change, and slices by them: equal outputs where the cut channels are zero."""

from typing import Any

import pytest
import torch
from torch import nn

from spaces import BLOCKS, InputError, Layer
from spaces.width_map import Layout, Width, WidthMap, width_map
from tests.spaces.blocks.contract import make, map_of
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
    ("separable_conv", case(8, 12, 2), [{"in_channels": 5, "out_channels": 7}]),
    ("xception", case(8, 12, 2, activation="prelu"), [{"in_channels": 5, "out_channels": 7}]),
    ("xception", case(8, 8, convs=2), [{"in_channels": 6, "out_channels": 6}]),
    ("xception", case(8, 12, 2, widen="last", leading_activation=False), [{"in_channels": 5, "out_channels": 7}]),
    ("inverted_residual", case(8, 8, expand_ratio=3), [{"in_channels": 6, "out_channels": 6}]),
    (
        "inverted_residual",
        case(8, 12, 2, expand_ratio=4, squeeze_ratio=0.5, activation="prelu"),
        [{"in_channels": 6, "out_channels": 10, "expand_ratio": 2}],
    ),
    (
        "inverted_residual",
        case(8, 8, expand_ratio=2, skip=None),
        [{"expand_ratio": 1.5}, {"in_channels": 6, "out_channels": 6}],
    ),
    ("inverted_residual", case(8, 8, 2, skip="pool", kernel_size=2), [{"in_channels": 4, "out_channels": 4}]),
    (
        "mobilenet_v3",
        case(8, 8, expand_ratio=4, squeeze_ratio=0.5, activation="h_swish"),
        [{"in_channels": 6, "out_channels": 6, "expand_ratio": 2.6}],
    ),
    (
        "mbconv",
        case(8, 8, expand_ratio=4, squeeze_ratio=0.5, activation="swish"),
        [{"in_channels": 6, "out_channels": 6}, {"squeeze_ratio": 0.25}],
    ),
    ("mnasnet_conv", case(8, 8, squeeze_ratio=0.5), [{"in_channels": 6, "out_channels": 6}]),
    (
        "mnasnet_conv",
        case(8, 8, 2, skip="pool", activation=None, squeeze_ratio=0.5),
        [{"in_channels": 6, "out_channels": 6}],
    ),
    ("resnet_basic", case(8, 8, squeeze_ratio=0.5), [{"in_channels": 6, "out_channels": 6}]),
    ("resnet_basic", case(6, 12, 2, shortcut="avg_pool", activation="prelu"), [{"in_channels": 4, "out_channels": 9}]),
    ("resnet_basic", case(6, 12, 2, shortcut="pad"), [{"in_channels": 4, "out_channels": 9}]),
    ("resnet_basic", case(12, 8, 2, shortcut="pad"), [{"in_channels": 9, "out_channels": 6}]),
    ("resnet_basic", case(12, 12, kernel_size=2), [{"in_channels": 8, "out_channels": 8}]),
    ("resnet_bottleneck", case(8, 16, 2, squeeze_ratio=0.25), [{"in_channels": 6, "out_channels": 12}]),
    (
        "resnet_bottleneck",
        case(16, 16, groups=2, base_width=32),
        [{"base_width": 16}, {"in_channels": 12, "out_channels": 12}],
    ),
    ("fire", case(6, 16, squeeze_ratio=0.5), [{"in_channels": 4, "out_channels": 10}]),
    ("fire", case(6, 16, 2, share_3x3=1.0, kernel_size=5), [{"in_channels": 4, "out_channels": 8}]),
    (
        "fire",
        case(16, 16, bypass=True, norm=True, share_3x3=0.25),
        [{"in_channels": 12, "out_channels": 12}, {"squeeze_ratio": 0.06}],
    ),
    ("squeezenext", case(16, 16), [{"in_channels": 12, "out_channels": 12}]),
    ("squeezenext", case(16, 24, 2, groups=2), [{"in_channels": 8, "out_channels": 16}]),
    (
        "squeezenext",
        case(16, 24, 2, project_input=True, vertical_first=False),
        [{"in_channels": 9, "out_channels": 16}],
    ),
    ("shufflenet_v1", case(108, 108, groups=3), [{"in_channels": 72, "out_channels": 72}]),
    ("shufflenet_v1", case(24, 144, 2, groups=3, first_groups=1), [{"in_channels": 12, "out_channels": 72}]),
    ("shufflenet_v1", case(48, 32, groups=2, activation="prelu"), [{"in_channels": 24, "out_channels": 16}]),
    ("shufflenet_v2", case(16, 16), [{"in_channels": 12, "out_channels": 12}]),
    ("shufflenet_v2", case(8, 16, 2), [{"in_channels": 6, "out_channels": 12}]),
    ("shufflenet_v2", case(8, 24, 2), [{"in_channels": 6, "out_channels": 18}]),
    ("shufflenet_v2", case(8, 24, 2, strided="torchvision"), [{"in_channels": 6, "out_channels": 18}]),
    ("ghost_module", case(8, 12), [{"in_channels": 6, "out_channels": 8}]),
    ("ghost_module", case(8, 13, 2, ratio=3, kernel_size=3), [{"in_channels": 6, "out_channels": 9}]),
    (
        "ghost_bottleneck",
        case(8, 8, squeeze_ratio=0.25, hidden_channels=24),
        [{"in_channels": 6, "out_channels": 6, "hidden_channels": 14}],
    ),
    ("ghost_bottleneck", case(8, 14, 2, expand_ratio=3), [{"in_channels": 6, "out_channels": 10}]),
    ("esp", case(15, 15), [{"in_channels": 10, "out_channels": 10}]),
    ("esp", case(8, 17, 2, branches=4), [{"in_channels": 6, "out_channels": 13}]),
    ("eesp", case(32, 32), [{"in_channels": 16, "out_channels": 16}]),
    (
        "inception",
        case(8, 24, branches=[[{"1x1": 8}], [{"1x1": 6}, {"3x3": 8}], ["avg", {"1x1": 8}]]),
        [{"in_channels": 6, "out_channels": 12}],
    ),
    (
        "inception",
        case(8, 20, 2, branches=[[{"1x1": 6}, [{"1x3": 6}, {"3x1": 6}]], ["max"]]),
        [{"in_channels": 6, "out_channels": 14}],
    ),
    (
        "inception_residual",
        case(16, 16, branches=[[{"1x1": 8}], [{"1x1": 6}, {"3x3": 8}]], scale=0.5, base_channels=16),
        [{"in_channels": 8, "out_channels": 8}],
    ),
    (
        "nasnet_cell",
        case(12, 20, steps=[[["sep5", "h"], ["sep3", "p"]], [["avg3", "h"], ["identity", "p"]]], activation="prelu"),
        [{"in_channels": 8, "out_channels": 12}],
    ),
    (
        "nasnet_cell",
        case(
            (10, 6),
            24,
            2,
            size=((6, 6), (12, 12)),
            steps=[[["sep5", "h"], ["fac3", "p"]], [["max3", "a"], ["dil3", "h"]]],
            concat=["a", "b", "h"],
        ),
        [{"in_channels": (8, 4), "out_channels": 15}],
    ),
    ("head", case(8, 10, activation="prelu"), [{"in_channels": 5, "out_channels": 7}]),
    (
        "head",
        case(8, 10, pool_size=2, hidden=[16, 12], hidden_norm=True),
        [{"in_channels": 5, "out_channels": 7, "hidden": [9, 4]}],
    ),
    ("head", case(10, 10, linear=False), [{"in_channels": 7, "out_channels": 7}]),
    ("head", case(8, 10, hidden=[12], hidden_groups=2), [{"in_channels": 4, "hidden": [8], "out_channels": 9}]),
    ("head", case(8, 10, pool="pyramid", levels=[1, 3]), [{"in_channels": 5, "out_channels": 9}]),
    ("shuffle_agg", case(24, 24, groups=[2, 4], activation="prelu"), [{"squeeze_ratio": 0.5}]),
    ("shuffle_agg", case(16, 16, groups=2, depth=3, residual=False), [{"in_channels": 8, "squeeze_ratio": 1}]),
    ("shuffle_agg", case(64, 24, 2, groups=4, kernel_size=2), [{"in_channels": 32}, {"squeeze_ratio": 0.5}]),
]


PARTLY = [
    # where groups cut across the shuffle's, widths of one channel stay
    ("shufflenet_v1", case(24, 60, groups=3), [{"in_channels": 12, "out_channels": 36}], 3),
    # the first of the two convolutions of the image makes three maps, whatever the options
    ("eesp", case((32, 3), 64, 2, size=((8, 8), (16, 16))), [{"in_channels": (16, 2), "out_channels": 32}], 1),
    # depth is fixed: the gate's width follows it, and at stride 1 the half that passes untouched is as wide
    ("dice", case(16, 16, size=(6, 8)), [{"in_channels": 15}], 2),
    ("dice", case(16, 24, 2, size=(6, 8), kernel_size=2), [{"out_channels": 16}], 1),
    ("dice", case(16, 16, 1, size=(6, 8), fuse="shuffle_agg"), [{"in_channels": 15}], 1),
]
"""Blocks of which some widths could change, but do not by any options: how many."""


@pytest.mark.parametrize(("name", "larger", "smaller", "uncut"), PARTLY)
def test_widths_that_no_option_changes_stay(name, larger, smaller, uncut):
    check_widths(name, larger, smaller, uncut)


@pytest.mark.parametrize(("name", "larger", "smaller"), CASES)
def test_slices_by_the_map(name, larger, smaller):
    check_widths(name, larger, smaller)


def test_every_block_is_here():
    assert {name for name, *_ in (*CASES, *PARTLY)} | {"local_response_norm"} == set(BLOCKS)


def reasons(widths: WidthMap, layout: Layout) -> set[str]:
    """Why the channels of a layout must stay."""
    return {widths.widths[channel.width].fixed for channel in layout}


def test_channels_with_a_meaning_by_position_are_fixed():
    normalised = map_of("local_response_norm", **case(8, 8))
    assert reasons(normalised, normalised.inputs[0]) == {"a channel is divided by a sum over its neighbours"}
    mixed = map_of("shuffle_agg", **case(8, 8, residual=False))
    aggregated = "which maps an output aggregates depends on their numbers and its own"
    assert reasons(mixed, mixed.output) == {aggregated}
    assert reasons(mixed, mixed.parameters["stack.2.1.running_mean"].axes[0]) == {aggregated}
    assert reasons(mixed, mixed.inputs[0]) == reasons(mixed, mixed.parameters["stack.0.0.weight"].axes[0]) == {""}
    added = map_of("shuffle_agg", **case(8, 8))
    assert reasons(added, added.inputs[0]) == {aggregated}
    turned = map_of("dice", **case(8, 16, 2))
    for name in ("over_channels", "over_rows", "over_columns"):
        axis = turned.parameters[f"right.1.0.{name}.weight"].axes[0]
        assert reasons(turned, axis) == {"depth is a side of the maps that are convolved over rows and columns"}
    assert reasons(turned, turned.output) == {""}


def test_only_kept_channels_in_the_right_number_make_a_smaller_block():
    large = map_of("conv", **case(6, 8))
    small = map_of("conv", **case(4, 8))
    assert large.widths == {"input": Width(6, ""), "conv.0": Width(8, "")}
    state = make("conv", **case(6, 8)).state_dict()
    sliced = large.slice(state, small, {"input": [5, 0, 3, 1]})
    assert torch.equal(sliced["conv.0.weight"], state["conv.0.weight"][:, [5, 0, 3, 1]])
    for kept in ([0, 1, 2], [0, 1, 2, 2]):
        with pytest.raises(InputError, match="width input: 4 different channels are kept"):
            large.slice(state, small, {"input": kept})
    with pytest.raises(InputError, match="width input: 4 different channels are kept, not 6"):
        large.slice(state, small, {})
    with pytest.raises(InputError, match="differ in more than their widths"):
        large.slice(state, map_of("conv", **case(6, 8, norm=False)), {})


def test_fixed_channels_keep_their_order():
    widths = map_of("local_response_norm", **case(3, 3))
    with pytest.raises(InputError, match="its 3 channels stay as they are: a channel is divided"):
        widths.slice({}, widths, {"input fixed": [1, 0, 2]})


class Stateless(nn.Module):
    """A user's block that states nothing."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()


def test_a_block_that_states_no_operations_has_no_map(monkeypatch):
    monkeypatch.setitem(BLOCKS, "stateless", Stateless)
    assert width_map(Layer("stateless", 4, 4), (6, 5)) is None
