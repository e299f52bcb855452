"""What the width map of every block must keep, checked on one block and smaller ones of the same structure."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spaces.width_map import Layout, WidthMap
from tests.spaces.blocks.contract import as_inputs, check_axes, make, map_of

Case = dict[str, Any]
"""Keyword arguments of `make`: in_channels, out_channels, stride, size and options, the block's name apart."""


def randomize(module: nn.Module) -> nn.Module:
    """The module in double precision, at inference, with random parameters and running statistics."""
    torch.manual_seed(0)
    for name, value in module.double().state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value))
    return module.eval()


def choose(widths: WidthMap, smaller: WidthMap, rng: np.random.Generator) -> dict[str, list[int]]:
    """Random channels of each width, as many as the smaller block has, in random order."""
    kept = {}
    for name, (channels, fixed) in widths.widths.items():
        left = smaller.widths[name].channels if name in smaller.widths else 0
        assert not fixed or left == channels, f"{name} changed, which is fixed: {fixed}"
        kept[name] = list(range(channels)) if fixed else rng.permutation(channels)[:left].tolist()
    return kept


def cut_rows(layout: Layout, kept: dict[str, list[int]]) -> Tensor:
    """Which positions hold channels that are not kept."""
    return torch.tensor([width in kept and index not in kept[width] for width, index in layout])


def check_slices(name: str, case: Case, smaller_case: Case) -> set[str]:
    """A block whose cut channels are zero gives what the smaller block of its other channels gives.

    Returns:
        The widths that were cut.
    """
    large, small = map_of(name, **case), map_of(name, **smaller_case)
    module, smaller = randomize(make(name, **case)), randomize(make(name, **smaller_case))
    check_axes(large, module)
    check_axes(small, smaller)
    kept = choose(large, small, np.random.default_rng(0))
    state = module.state_dict()
    for key, (axes, _) in large.parameters.items():
        if axes:
            state[key][cut_rows(axes[0], kept)] = 0
    images = [x.double() for x in as_inputs(case["in_channels"], case["size"], 2)]
    for image, layout in zip(images, large.inputs, strict=True):
        image[:, cut_rows(layout, kept)] = 0
    smaller.load_state_dict(large.slice(state, small, kept))
    taken = [x[:, large.positions(a, b, kept)] for x, a, b in zip(images, large.inputs, small.inputs, strict=True)]
    with torch.no_grad():
        whole, part = module(*[image.clone() for image in images]), smaller(*taken)
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(part, whole[:, large.positions(large.output, small.output, kept)], rtol=1e-5, atol=1e-5)
    return {width for width, indices in kept.items() if len(indices) < large.widths[width].channels}


def check_widths(name: str, case: Case, smaller: list[Case], uncut: int = 0) -> None:
    """The whole contract: all smaller blocks are slices, and between them every width that can change is cut.

    Args:
        name: of the block.
        case: its arguments.
        smaller: arguments of smaller blocks that differ from them.
        uncut: how many widths that can change none of them cuts.
    """
    cut = set().union(*(check_slices(name, case, case | change) for change in smaller))
    free = {width for width, (_, fixed) in map_of(name, **case).widths.items() if not fixed}
    assert len(free - cut) == uncut, free - cut
