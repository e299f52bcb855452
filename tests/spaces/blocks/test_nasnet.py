"""NASNet cells: the contract over random wirings, and the paper's two cells."""

import numpy as np
import pytest
import torch
from torch import nn

from spaces.blocks.nasnet import FactorizedReduction, NASNetCell, PreConv
from tests.spaces.blocks.contract import check_block, count, make, price

NORMAL = {
    "steps": [
        [["sep5", "h"], ["sep3", "p"]],
        [["sep5", "p"], ["sep3", "p"]],
        [["avg3", "h"], ["identity", "p"]],
        [["avg3", "p"], ["avg3", "p"]],
        [["sep3", "h"], ["identity", "h"]],
    ],
    "concat": ["p", "a", "b", "c", "d", "e"],
}
REDUCTION = {
    "steps": [
        [["sep5", "h"], ["sep7", "p"]],
        [["max3", "h"], ["sep7", "p"]],
        [["avg3", "h"], ["sep5", "p"]],
        [["identity", "b"], ["avg3", "a"]],
        [["sep3", "a"], ["max3", "h"]],
    ],
    "concat": ["b", "c", "d", "e"],
}
OPERATIONS = ["identity", "sep2", "sep3", "sep5", "conv1", "conv2", "conv3", "dil3", "dil2", "fac7", "fac2", "avg3"]
OPERATIONS += ["avg5", "max3", "max7"]


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "stride", "size", "options"),
    [
        ((10, 8), 24, 1, ((7, 9), (7, 9)), NORMAL),
        ((10, 8), 18, 1, ((7, 9), (14, 17)), {**NORMAL, "activation": "prelu"}),  # F odd, after a reduction
        ((10, 8), 16, 2, ((7, 9), (7, 9)), REDUCTION),
        ((10, 8), 4, 2, ((8, 6), (15, 11)), REDUCTION),
        (10, 16, 2, (7, 9), REDUCTION),  # the first cell
        (10, 12, 1, (1, 1), {**NORMAL, "activation": "swish"}),
        ((6, 4), 8, 2, ((5, 5), (9, 10)), {"steps": [[["identity", "h"], ["identity", "h"]]]}),  # nothing reads p
        ((10, 8), 18, 2, ((7, 9), (7, 9)), NORMAL),  # a concatenated input of another size
        (4, 6, 2, (5, 4), {"steps": [[["max3", "p"], ["identity", "p"]]]}),  # nothing reads h
    ],
)
def test_contract(in_channels, out_channels, stride, size, options):
    check_block("nasnet_cell", in_channels, out_channels, stride, size, **options)


@pytest.mark.parametrize("seed", range(12))
def test_any_wiring_keeps_the_contract(seed):
    rng = np.random.default_rng(seed)
    states, steps = ["h", "p"], []
    for result in "abcde":
        steps.append([[str(rng.choice(OPERATIONS)), str(rng.choice(states))] for _ in range(2)])
        states.append(result)
    stride = 1 + seed % 2
    size = ((6, 5), (12, 9)) if seed % 3 else ((6, 5), (6, 5))
    _, states_concatenated = NASNetCell.channel_multiples(steps=steps, concat=None)
    check_block("nasnet_cell", (6, 4), 4 * states_concatenated, stride, size, steps=steps)


@pytest.mark.parametrize(
    ("into", "filters", "options", "stride", "params"),
    [((264, 264), 44, NORMAL, 1, 50_424), ((264, 264), 88, REDUCTION, 2, 153_648)],
)
def test_cells_of_nasnet_a(into, filters, options, stride, params):
    # parameters of the authors' cells between layers of 264 channels
    out_channels = filters * len(options["concat"])
    assert price("nasnet_cell", into, out_channels, stride, ((28, 28), (28, 28)), **options).params == params


def test_a_cell_of_the_paper_is_its_sum():
    # with a and b given, step d of the reduction cell is b + avg3(a)
    torch.manual_seed(0)
    cell = make("nasnet_cell", (6, 4), 8, 2, ((6, 6), (6, 6)), **REDUCTION).eval()
    states = {}
    for name, step in zip("abcde", cell.steps):
        step.register_forward_hook(lambda module, inputs, output, name=name: states.update({name: output}))
    output = cell(torch.randn(1, 6, 6, 6), torch.randn(1, 4, 6, 6))
    pooled = nn.functional.avg_pool2d(states["a"], 3, 1, 1, count_include_pad=False)
    assert torch.allclose(states["d"], states["b"] + pooled)
    assert torch.equal(output, torch.cat([states[name] for name in "bcde"], 1))


def test_factorized_reduction_sees_two_diagonals():
    reduction = FactorizedReduction(PreConv(1, 2, stride=2), activation=None).eval()
    nn.init.ones_(reduction.straight.weight)
    nn.init.ones_(reduction.shifted.weight)
    x = torch.arange(1.0, 26.0).view(1, 1, 5, 5)
    straight, shifted = (reduction(x)[0] * (1 + 1e-3) ** 0.5).round()
    assert straight.tolist() == [[1, 3, 5], [11, 13, 15], [21, 23, 25]]
    assert shifted.tolist() == [[7, 9, 0], [17, 19, 0], [0, 0, 0]]


def test_inputs_nobody_reads_have_no_weights():
    steps = [[["sep3", "h"], ["max3", "h"]]]
    alone = make("nasnet_cell", (6, 4), 8, 1, ((6, 6), (6, 6)), steps=steps)
    assert count(alone, (6, 4), ((6, 6), (6, 6))) == price("nasnet_cell", (6, 400), 8, 1, ((6, 6), (6, 6)), steps=steps)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": []}, "1 to 24 steps"),
        ({"steps": 5}, "1 to 24 steps"),
        ({"steps": [5]}, "adds two operations"),
        ({"steps": [[["sep3", "h"]]]}, "adds two operations"),
        ({"steps": [[["sep3", "h"], "p"]]}, r"\[operation, state\] pairs"),
        ({"steps": [[["sep3", "h"], ["sep3", "a"]]]}, "reads no earlier state: 'a'"),
        ({"steps": [[["sep", "h"], ["sep3", "p"]]]}, "unknown operation 'sep'"),
        ({"steps": [[["avg2", "h"], ["sep3", "p"]]]}, "side is odd"),
        ({"steps": [[["sep3", "h"], ["sep3", "p"]]], "concat": ["b"]}, "no state: 'b'"),
        ({"steps": NORMAL["steps"], "concat": ["a", "b"]}, "results of c, d, e"),
        ({"steps": NORMAL["steps"]}, "8 output channels are not a multiple of the 5"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        NASNetCell(4, 8, 2, size=(8, 8), **options)
    with pytest.raises(ValueError, match=words):
        price("nasnet_cell", 4, 8, 2, (8, 8), **options)


def test_sizes_that_do_not_meet_are_named():
    with pytest.raises(ValueError, match="10x10, to 8x8"):
        price("nasnet_cell", (4, 4), 6, 1, ((8, 8), (10, 10)), **NORMAL)
