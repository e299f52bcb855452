"""What a block computes, as a list of operations. Every cost but the peak of activations is a sum over that list.

Costs count what this field's papers count: one multiply-add for every weight that meets a pixel in a convolution or a linear
layer. Normalisation, activations, pooling, additions, shuffles and biases cost no multiply-adds; their parameters are counted.
Memory accesses are the values that convolutions and linear layers read and write: input map, weights without biases, output map.

Every operation makes one map. The maps of a block are numbered, its inputs first: `reads` are the numbers of the maps that an
operation reads, `makes` is the number of its own. `path` is the module in the block that holds its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from spaces.sizes import Pair, Size, conv_padding, kernel_sides, strided, window_size


class Input(NamedTuple):
    """A map that a block reads."""

    makes: int
    out_channels: int
    out_size: Size


class Convolution(NamedTuple):
    """A convolution, with a bias or without."""

    path: str
    reads: tuple[int]
    makes: int
    in_channels: int
    out_channels: int
    in_size: Size
    """(height, width) of its input, before padding."""
    out_size: Size
    kernel: tuple[int, int]
    groups: int
    bias: bool
    corners: bool
    """Whether `SymmetricPad2d` pads: channel i towards corner i mod 4."""
    whole_groups: bool
    """Whether the number of groups follows the number of channels, as in a depthwise convolution, so that groups are cut whole."""

    @property
    def weights(self) -> int:
        """Number of weights, the bias apart."""
        return math.prod(self.kernel) * self.in_channels * self.out_channels // self.groups

    def counts(self) -> tuple[int, int, int]:
        """(multiply-adds, parameters, values read and written): every weight meets every pixel of the output."""
        _, _, _, into, out, (height, width), (out_height, out_width), (k_h, k_w), groups, bias, _, _ = self
        weights, pixels = k_h * k_w * into * out // groups, out_height * out_width
        return pixels * weights, weights + bias * out, into * height * width + weights + out * pixels


class Linear(NamedTuple):
    """A fully connected layer on pooled values, also where the module is a 1x1 convolution of them."""

    path: str
    reads: tuple[int]
    makes: int
    in_channels: int
    out_channels: int
    groups: int
    bias: bool

    @property
    def out_size(self) -> Size:
        """One pixel."""
        return 1, 1

    @property
    def weights(self) -> int:
        """Number of weights, the bias apart."""
        return self.in_channels * self.out_channels // self.groups

    def counts(self) -> tuple[int, int, int]:
        """(multiply-adds, parameters, values read and written), once an image."""
        weights = self.weights
        return weights, weights + self.bias * self.out_channels, self.in_channels + weights + self.out_channels


class Norm(NamedTuple):
    """A batch normalisation."""

    path: str
    reads: tuple[int]
    makes: int
    out_channels: int
    out_size: Size


class Elementwise(NamedTuple):
    """An activation, a sum, a product: value by value, channel by channel."""

    kind: str
    path: str
    """Empty where it has no parameters."""
    reads: tuple[int, ...]
    makes: int
    out_channels: int
    out_size: Size
    params: int
    fixed: str = ""
    """Why the channels must stay as they are; empty if they may change."""


class Pool(NamedTuple):
    """A maximum, a mean or a single pixel of every window of every channel."""

    kind: str
    reads: tuple[int]
    makes: int
    out_channels: int
    in_size: Size
    out_size: Size
    corners: bool
    """Whether `SymmetricPad2d` pads: channel i towards corner i mod 4."""


class Bins(NamedTuple):
    """Pooled values of a map as features: level by level, channel by channel, level² values each."""

    levels: tuple[int, ...]
    reads: tuple[int]
    makes: int
    out_channels: int

    @property
    def out_size(self) -> Size:
        """One pixel."""
        return 1, 1


class Concat(NamedTuple):
    """Maps side by side, their channels in the order of `reads`."""

    reads: tuple[int, ...]
    makes: int
    out_channels: int
    out_size: Size


class Slice(NamedTuple):
    """The channels from `start` up to, without, `stop`; those beyond the input's are zeros."""

    start: int
    stop: int
    reads: tuple[int]
    makes: int
    out_channels: int
    out_size: Size


class Shuffle(NamedTuple):
    """A channel shuffle: channel i·n + j goes to j·groups + i, n channels a group."""

    groups: int
    reads: tuple[int]
    makes: int
    out_channels: int
    out_size: Size


class Rearrange(NamedTuple):
    """A map whose channels are made from all values of another by their positions, such as a transposed one."""

    kind: str
    fixed: str
    """Why the channels of both maps must stay as they are."""
    reads: tuple[int]
    makes: int
    out_channels: int
    out_size: Size


Operation = Convolution | Linear | Norm | Elementwise | Pool | Bins | Concat | Slice | Shuffle | Rearrange
"""Every one has `out_channels` and `out_size`; those that are not named in `sum_of` cost nothing."""


WEIGHTED = (Convolution, Linear)
"""The operations that cost multiply-adds and memory accesses."""


class Cost(NamedTuple):
    """The exact cost of one forward pass with batch 1."""

    flops: int
    """Multiply-adds of convolutions and linear layers."""
    params: int
    """Number of weights, biases and affine parameters; running statistics are none."""
    size: Size
    """(height, width) of the output."""
    accesses: int = 0
    """Values that convolutions and linear layers read and write: input map, weights without biases, output map."""


def sum_of(operations: Sequence[Operation], size: Size) -> Cost:
    """What operations cost together that make a map of `size`."""
    flops = params = accesses = 0
    for operation in operations:
        if isinstance(operation, Norm):
            params += 2 * operation.out_channels  # a scale and a shift
        elif isinstance(operation, Elementwise):
            params += operation.params
        elif isinstance(operation, WEIGHTED):
            multiplied, learned, moved = operation.counts()
            flops += multiplied
            params += learned
            accesses += moved
    return Cost(flops, params, size, accesses)


Map = Input | Operation
"""A map, by the operation that makes it."""


_new = tuple.__new__
"""Makes a record of its fields in half the time: a search prices thousands of candidates a second."""


def _convolution(
    path: str,
    x: Map,
    makes: int,
    out_channels: int,
    kernel_size: Pair,
    stride: Pair,
    groups: int,
    dilation: Pair,
    padding: Pair | None,
    bias: bool,
    whole_groups: bool | None,
) -> Convolution:
    size = x.out_size
    kernel = kernel_sides(kernel_size)
    if padding is None:
        corners = (kernel[0] % 2 == 0 or kernel[1] % 2 == 0) and _leans(kernel, dilation)
        out_size = size if stride == 1 else strided(size, stride)
    else:
        corners, out_size = False, window_size(size, kernel_size, stride, padding, dilation)
    read, channels = (x.makes,), x.out_channels
    whole = 1 < groups == channels if whole_groups is None else whole_groups
    fields = path, read, makes, channels, out_channels, size, out_size, kernel, groups, bias, corners, whole
    return _new(Convolution, fields)


def _leans(kernel: Size, dilation: Pair) -> bool:
    """Whether padding that keeps the size is uneven, so that `SymmetricPad2d` shares it out."""
    rows, columns = conv_padding(kernel, dilation)
    return rows % 2 == 1 or columns % 2 == 1


class Operations(list[Operation]):
    """A list of operations that is written as a block's `forward` is: every method adds one and gives the map that it makes.

    Args:
        in_channels: of the block's input; a tuple of them where it reads several.
        size: (height, width) of the input, or a tuple of them.
    """

    def __init__(self, in_channels: int | tuple[int, ...], size: Size | tuple[Size, ...]) -> None:
        if isinstance(in_channels, int):
            self.input: Input = _new(Input, (0, in_channels, size))
            self.inputs = [self.input]
        else:
            self.inputs = [Input(i, *side) for i, side in enumerate(zip(in_channels, size, strict=True))]  # type: ignore[arg-type]
            self.input = self.inputs[0]
        self._num_inputs = len(self.inputs)

    def convolution(
        self,
        path: str,
        x: Map,
        out_channels: int,
        kernel_size: Pair = 1,
        stride: Pair = 1,
        *,
        groups: int = 1,
        dilation: Pair = 1,
        padding: Pair | None = None,
        bias: bool = False,
        whole_groups: bool | None = None,
    ) -> Convolution:
        """A convolution; without `padding`, that of `conv2d` in `spaces/blocks/ops.py` with out = ceil(side / stride)."""
        made = _convolution(
            path,
            x,
            self._num_inputs + len(self),
            out_channels,
            kernel_size,
            stride,
            groups,
            dilation,
            padding,
            bias,
            whole_groups,
        )
        self.append(made)
        return made

    def linear(self, path: str, x: Map, out_channels: int, *, groups: int = 1, bias: bool = True) -> Linear:
        """A fully connected layer on a map of one pixel."""
        made = _new(
            Linear, (path, (x.makes,), self._num_inputs + len(self), x.out_channels, out_channels, groups, bias)
        )
        self.append(made)
        return made

    def norm(self, path: str, x: Map) -> Norm:
        """A batch normalisation."""
        made = _new(Norm, (path, (x.makes,), self._num_inputs + len(self), x.out_channels, x.out_size))
        self.append(made)
        return made

    def activation(self, path: str, x: Map, kind: str | None) -> Map:
        """The activation of that name (`ACTIVATIONS` in `spaces/blocks/ops.py`); nothing for None."""
        if kind is None:
            return x
        channels = x.out_channels
        params = channels if kind == "prelu" else 0
        fields = kind, path, (x.makes,), self._num_inputs + len(self), channels, x.out_size, params, ""
        made = _new(Elementwise, fields)
        self.append(made)
        return made

    def elementwise(self, kind: str, x: Map, other: Map | None = None, fixed: str = "") -> Elementwise:
        """What has no parameters: a sum or a product of two maps, or a function of one; a map of one pixel meets every pixel."""
        reads = (x.makes,) if other is None else (x.makes, other.makes)
        made = _new(Elementwise, (kind, "", reads, self._num_inputs + len(self), x.out_channels, x.out_size, 0, fixed))
        self.append(made)
        return made

    def pool(self, kind: str, x: Map, out_size: Size, corners: bool = False) -> Pool:
        """A pool whose windows make a map of `out_size`."""
        made = _new(
            Pool, (kind, (x.makes,), self._num_inputs + len(self), x.out_channels, x.out_size, out_size, corners)
        )
        self.append(made)
        return made

    def bins(self, x: Map, levels: tuple[int, ...]) -> Bins:
        """The features that `BinPool` makes of a map."""
        made = _new(
            Bins,
            (levels, (x.makes,), self._num_inputs + len(self), x.out_channels * sum(level * level for level in levels)),
        )
        self.append(made)
        return made

    def concat(self, *maps: Map) -> Concat:
        """Maps side by side."""
        channels = sum([x.out_channels for x in maps])
        made = _new(Concat, (tuple([x.makes for x in maps]), self._num_inputs + len(self), channels, maps[0].out_size))
        self.append(made)
        return made

    def slice(self, x: Map, start: int, stop: int) -> Slice:
        """Some of the channels."""
        made = _new(Slice, (start, stop, (x.makes,), self._num_inputs + len(self), stop - start, x.out_size))
        self.append(made)
        return made

    def shuffle(self, x: Map, groups: int) -> Shuffle:
        """A channel shuffle."""
        made = _new(Shuffle, (groups, (x.makes,), self._num_inputs + len(self), x.out_channels, x.out_size))
        self.append(made)
        return made

    def rearrange(self, kind: str, x: Map, out_channels: int, out_size: Size, fixed: str) -> Rearrange:
        """A map whose channels follow from positions in another; `fixed` says why both keep theirs."""
        made = _new(Rearrange, (kind, fixed, (x.makes,), self._num_inputs + len(self), out_channels, out_size))
        self.append(made)
        return made

    def conv_norm_act(
        self,
        path: str,
        x: Map,
        out_channels: int,
        kernel_size: Pair = 1,
        stride: Pair = 1,
        *,
        groups: int = 1,
        dilation: Pair = 1,
        padding: Pair | None = None,
        norm: bool = True,
        bias: bool | None = None,
        whole_groups: bool | None = None,
        activation: str | None = "relu",
    ) -> Map:
        """The module of that name in `spaces/blocks/ops.py` with the same arguments."""
        number = self._num_inputs + len(self)
        bias = not norm if bias is None else bias
        convolution = _convolution(
            path + ".0", x, number, out_channels, kernel_size, stride, groups, dilation, padding, bias, whole_groups
        )
        self.append(convolution)
        made: Map = convolution
        if norm:
            normalised = _new(Norm, (path + ".1", (number,), number + 1, out_channels, made.out_size))
            self.append(normalised)
            made = normalised
        if activation is None:
            return made
        return self.activation(path + (".2" if norm else ".1"), made, activation)

    def norm_act(self, path: str, x: Map, activation: str | None = "relu") -> Map:
        """The module of that name in `spaces/blocks/ops.py`."""
        return self.activation(path + ".1", self.norm(path + ".0", x), activation)

    def squeeze_excitation(self, path: str, x: Map, squeezed: int, activation: str | None, gate: str) -> Map:
        """The module `SqueezeExcitation` in `spaces/blocks/ops.py`: two layers on the channels' means scale the channels."""
        means = self.pool("avg", x, (1, 1))
        inner = self.activation(path + ".activation", self.linear(path + ".squeeze", means, squeezed), activation)
        scale = self.elementwise(gate, self.linear(path + ".excite", inner, x.out_channels))
        return self.elementwise("multiply", x, scale)
