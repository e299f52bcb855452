"""Sizes of maps in pixels, and what strides and windows make of them."""

from __future__ import annotations

from spaces.checks import is_integer

Size = tuple[int, int]
"""(height, width) in pixels."""

Pair = int | tuple[int, int] | list[int]
"""One number for both directions, or (vertical, horizontal)."""


def as_pair(value: Pair) -> tuple[int, int]:
    """(vertical, horizontal) of a number or a pair.

    Raises:
        ValueError: it is neither.
    """
    if is_integer(value):
        return value, value
    pair = (value,) if isinstance(value, int) else tuple(value)  # true is no number
    if len(pair) != 2 or not all(map(is_integer, pair)):
        raise ValueError(f"a whole number or a pair of them is needed, not {value!r}")
    return pair


def kernel_sides(kernel_size: Pair) -> tuple[int, int]:
    """(vertical, horizontal) of a filter.

    Raises:
        ValueError: a side is below one.
    """
    sides = as_pair(kernel_size)
    if sides[0] < 1 or sides[1] < 1:
        raise ValueError(f"kernel_size must be at least 1, not {kernel_size}")
    return sides


def conv_padding(kernel_size: Pair, dilation: Pair = 1) -> tuple[int, int]:
    """Rows and columns by which a convolution grows its input in all, so that out = ceil(side / stride)."""
    (k_h, k_w), (d_h, d_w) = kernel_sides(kernel_size), as_pair(dilation)
    return d_h * (k_h - 1), d_w * (k_w - 1)


def strided(size: Size, stride: Pair) -> Size:
    """(height, width) after a stride: ceil(side / stride)."""
    height, width = size
    s_h, s_w = (stride, stride) if isinstance(stride, int) else as_pair(stride)
    return -(-height // s_h), -(-width // s_w)


def window_size(
    size: Size, kernel_size: Pair, stride: Pair, padding: Pair = 0, dilation: Pair = 1, ceil: bool = False
) -> Size:
    """(height, width) after a convolution or pooling with explicit `padding` per side, as PyTorch computes it."""
    sides = []
    for side, k, s, p, d in zip(
        size, as_pair(kernel_size), as_pair(stride), as_pair(padding), as_pair(dilation), strict=True
    ):
        reach = side + 2 * p - d * (k - 1) - 1
        steps = -(-reach // s) if ceil else reach // s
        # a last window that would start in the padding behind the image is left out
        if ceil and steps * s >= side + p:
            steps -= 1
        sides.append(steps + 1)
    return sides[0], sides[1]
