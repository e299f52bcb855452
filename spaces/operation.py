"""What a block computes, as a list of operations. Every cost but the peak of activations is a sum over that list.

Costs count what this field's papers count: one multiply-add for every weight that meets a pixel in a convolution or a linear
layer. Normalisation, activations, pooling, additions, shuffles and biases cost no multiply-adds; their parameters are counted.
Memory accesses are the values that convolutions and linear layers read and write: input map, weights without biases, output map.

Every operation makes one map. The maps of a block are numbered, its inputs first: `reads` are the numbers of the maps that an
operation reads, `makes` is the number of its own. `path` is the module in the block that holds its parameters.
"""

from __future__ import annotations

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
    """Whether the number of groups follows the number of channels, as in a depthwise convolution."""

    @property
    def weights(self) -> int:
        """Number of weights, the bias apart."""
        k_h, k_w = self.kernel
        return k_h * k_w * self.in_channels * self.out_channels // self.groups

    @property
    def params(self) -> int:
        """Number of weights and biases."""
        return self.weights + self.out_channels if self.bias else self.weights

    @property
    def flops(self) -> int:
        """Multiply-adds: every weight meets every pixel of the output."""
        height, width = self.out_size
        return height * width * self.weights

    @property
    def accesses(self) -> int:
        """Values read and written."""
        (height, width), (out_height, out_width) = self.in_size, self.out_size
        return self.in_channels * height * width + self.weights + self.out_channels * out_height * out_width


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

    @property
    def params(self) -> int:
        """Number of weights and biases."""
        return self.weights + self.bias * self.out_channels

    @property
    def flops(self) -> int:
        """Multiply-adds, once an image."""
        return self.weights

    @property
    def accesses(self) -> int:
        """Values read and written."""
        return self.in_channels + self.weights + self.out_channels


class Norm(NamedTuple):
    """A batch normalisation."""

    path: str
    reads: tuple[int]
    makes: int
    out_channels: int
    out_size: Size

    @property
    def params(self) -> int:
        """A scale and a shift for every channel; running statistics are no parameters."""
        return 2 * self.out_channels


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
        if isinstance(operation, Convolution | Linear):
            flops += operation.flops
            params += operation.params
            accesses += operation.accesses
        elif isinstance(operation, Norm | Elementwise):
            params += operation.params
    return Cost(flops, params, size, accesses)


Map = Input | Operation
"""A map, by the operation that makes it."""


class Operations(list[Operation]):
    """A list of operations that is written as a block's `forward` is: every method adds one and gives the map that it makes.

    Args:
        in_channels: of the block's input; a tuple of them where it reads several.
        size: (height, width) of the input, or a tuple of them.
    """

    def __init__(self, in_channels: int | tuple[int, ...], size: Size | tuple[Size, ...]) -> None:
        super().__init__()
        channels, sizes = (in_channels, size) if isinstance(in_channels, tuple) else ((in_channels,), (size,))
        self.inputs = [Input(i, count, side) for i, (count, side) in enumerate(zip(channels, sizes, strict=True))]  # type: ignore[arg-type]
        self.input = self.inputs[0]

    def _next(self) -> int:
        return len(self.inputs) + len(self)

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
        whole_groups: bool = False,
    ) -> Convolution:
        """A convolution; without `padding`, that of `conv2d` in `spaces/blocks/ops.py` with out = ceil(side / stride)."""
        size = x.out_size
        if padding is None:
            extra = conv_padding(kernel_size, dilation)
            corners = bool(extra[0] % 2 or extra[1] % 2)
            out_size = size if stride == 1 else strided(size, stride)
        else:
            corners, out_size = False, window_size(size, kernel_size, stride, padding, dilation)
        made = Convolution(
            path,
            (x.makes,),
            len(self.inputs) + len(self),
            x.out_channels,
            out_channels,
            size,
            out_size,
            kernel_sides(kernel_size),
            groups,
            bias,
            corners,
            whole_groups,
        )
        self.append(made)
        return made

    def linear(self, path: str, x: Map, out_channels: int, *, groups: int = 1, bias: bool = True) -> Linear:
        """A fully connected layer on a map of one pixel."""
        made = Linear(path, (x.makes,), self._next(), x.out_channels, out_channels, groups, bias)
        self.append(made)
        return made

    def norm(self, path: str, x: Map) -> Norm:
        """A batch normalisation."""
        made = Norm(path, (x.makes,), len(self.inputs) + len(self), x.out_channels, x.out_size)
        self.append(made)
        return made

    def activation(self, path: str, x: Map, kind: str | None) -> Map:
        """The activation of that name (`ACTIVATIONS` in `spaces/blocks/ops.py`); nothing for None."""
        if kind is None:
            return x
        params = x.out_channels if kind == "prelu" else 0
        made = Elementwise(kind, path, (x.makes,), len(self.inputs) + len(self), x.out_channels, x.out_size, params)
        self.append(made)
        return made

    def elementwise(self, kind: str, x: Map, *others: Map, fixed: str = "") -> Elementwise:
        """What has no parameters: a sum or a product of maps; a map of one pixel meets every pixel."""
        reads = (x.makes, *[other.makes for other in others])
        made = Elementwise(kind, "", reads, self._next(), x.out_channels, x.out_size, 0, fixed)
        self.append(made)
        return made

    def pool(self, kind: str, x: Map, out_size: Size, corners: bool = False) -> Pool:
        """A pool whose windows make a map of `out_size`."""
        made = Pool(kind, (x.makes,), self._next(), x.out_channels, x.out_size, out_size, corners)
        self.append(made)
        return made

    def bins(self, x: Map, levels: tuple[int, ...]) -> Bins:
        """The features that `BinPool` makes of a map."""
        made = Bins(levels, (x.makes,), self._next(), x.out_channels * sum(level * level for level in levels))
        self.append(made)
        return made

    def concat(self, *maps: Map) -> Concat:
        """Maps side by side."""
        channels = sum([x.out_channels for x in maps])
        made = Concat(tuple([x.makes for x in maps]), self._next(), channels, maps[0].out_size)
        self.append(made)
        return made

    def slice(self, x: Map, start: int, stop: int) -> Slice:
        """Some of the channels."""
        made = Slice(start, stop, (x.makes,), self._next(), stop - start, x.out_size)
        self.append(made)
        return made

    def shuffle(self, x: Map, groups: int) -> Shuffle:
        """A channel shuffle."""
        made = Shuffle(groups, (x.makes,), self._next(), x.out_channels, x.out_size)
        self.append(made)
        return made

    def rearrange(self, kind: str, x: Map, out_channels: int, out_size: Size, fixed: str) -> Rearrange:
        """A map whose channels follow from positions in another; `fixed` says why both keep theirs."""
        made = Rearrange(kind, fixed, (x.makes,), self._next(), out_channels, out_size)
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
        whole_groups: bool = False,
        activation: str | None = "relu",
    ) -> Map:
        """The module of that name in `spaces/blocks/ops.py` with the same arguments."""
        made: Map = self.convolution(
            path + ".0",
            x,
            out_channels,
            kernel_size,
            stride,
            groups=groups,
            dilation=dilation,
            padding=padding,
            bias=not norm if bias is None else bias,
            whole_groups=whole_groups,
        )
        if norm:
            made = self.norm(path + ".1", made)
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
