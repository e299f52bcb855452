"""Architectures priced a second, cold and warm, against PyTorch's counter on built networks.

    python tests/benchmarks/pricing.py [--space all_blocks] [--count 10000]

Cold: no architecture was priced before and no block's cost is known. Warm: the same architectures again. The rival builds each
network on the meta device and counts one forward pass, as one would without closed forms; it is timed on fewer of them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from spaces import Architecture, build, cost, load_space


def count(architecture: Architecture) -> tuple[int, int]:
    """Multiply-adds and parameters by PyTorch's counter."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        network = build(architecture).eval()
        network(torch.empty(1, architecture.in_channels, *architecture.resolution))
    return counter.get_total_flops() // 2, sum(parameter.numel() for parameter in network.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="all_blocks")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rival-count", type=int, default=100)
    arguments = parser.parse_args()
    space = load_space(arguments.space, in_channels=3, num_classes=10, resolution=32)
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    architectures = [space.random(rng).architecture for _ in range(arguments.count)]
    drawn = time.perf_counter() - start
    seconds = []
    for _ in ("cold", "warm"):
        start = time.perf_counter()
        priced = [cost(architecture) for architecture in architectures]
        seconds.append(time.perf_counter() - start)
    cold, warm = (arguments.count / s for s in seconds)
    start = time.perf_counter()
    counted = [count(architecture) for architecture in architectures[: arguments.rival_count]]
    rival = arguments.rival_count / (time.perf_counter() - start)
    assert counted == [(price.flops, price.params) for price in priced[: arguments.rival_count]]
    different = len({architecture.digest for architecture in architectures})
    print(f"{arguments.space}: {arguments.count} random architectures, {different} different")
    print(f"drawn and decoded           {arguments.count / drawn:10,.0f} a second")
    print(f"priced, cold                {cold:10,.0f} a second (goal 5,000)")
    print(f"priced, warm                {warm:10,.0f} a second (goal 20,000)")
    print(f"PyTorch's counter           {rival:10,.1f} a second, equal to the integer on {arguments.rival_count}")
    print(f"ratio cold / counter        {cold / rival:10,.0f}")
    print(f"ratio warm / counter        {warm / rival:10,.0f}")


if __name__ == "__main__":
    main()
