"""What can be built: search spaces, architectures, blocks, and their exact cost."""

from spaces.architecture import Architecture, Layer
from spaces.blocks import BLOCKS
from spaces.builder import build
from spaces.costs import cost, layer_costs, operations, size_bytes
from spaces.decoding import decode
from spaces.errors import InputError
from spaces.operation import Cost
from spaces.reference import load_space, network, networks, published
from spaces.sizes import Size
from spaces.space import Candidate, Decision, SearchSpace

__all__ = [
    "BLOCKS",
    "Architecture",
    "Candidate",
    "Cost",
    "Decision",
    "InputError",
    "Layer",
    "SearchSpace",
    "Size",
    "build",
    "cost",
    "decode",
    "layer_costs",
    "load_space",
    "network",
    "networks",
    "operations",
    "published",
    "size_bytes",
]
