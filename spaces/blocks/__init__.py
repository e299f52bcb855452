"""The blocks by name: a new one is one file and one line in this table."""

from torch import nn

BLOCKS: dict[str, type[nn.Module]] = {}
