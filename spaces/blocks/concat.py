"""Several maps side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks.ops import norm_act
from spaces.operation import Operations
from spaces.sizes import Size


class Concat(nn.Module):
    """Concatenates the channels of its inputs, in their order; they have the same size.

    Args:
        in_channels: of each input.
        out_channels: their sum.
        norm: batch normalisation and activation of the concatenated maps.
        activation: after normalisation.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        out_channels: int,
        stride: int = 1,
        *,
        norm: bool = True,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        if out_channels != sum(in_channels):
            raise ValueError(
                f"a concatenation of {list(in_channels)} channels gives {sum(in_channels)}, not {out_channels}"
            )
        if stride != 1:
            raise ValueError(f"concat has stride 1, not {stride}")
        self.norm_act = norm_act(out_channels, activation) if norm else nn.Identity()

    def forward(self, *inputs: Tensor) -> Tensor:
        """inputs: (N, C_i, H, W) each. Returns (N, Σ C_i, H, W)."""
        return self.norm_act(torch.cat(inputs, 1))

    @staticmethod
    def operations(
        in_channels: tuple[int, ...],
        out_channels: int,
        stride: int,
        size: tuple[Size, ...],
        *,
        norm: bool,
        activation: str | None,
    ) -> Operations:
        """No multiply-adds; the normalisation's parameters.

        Raises:
            ValueError: the inputs differ in size.
        """
        if len(set(size)) > 1:
            raise ValueError(
                f"maps of different sizes cannot be concatenated: {', '.join(f'{h}x{w}' for h, w in size)}"
            )
        ops = Operations(in_channels, size)
        joined = ops.concat(*ops.inputs)
        if norm:
            ops.norm_act("norm_act", joined, activation)
        return ops

    @staticmethod
    def default_out_channels(in_channels: tuple[int, ...]) -> int:
        """The sum of its inputs."""
        return sum(in_channels)
