"""Building, and one training step, of every reference network on 32-pixel images.

    python tests/benchmarks/networks.py [--batch 8]

Networks whose strides or unpadded convolutions eat 32 pixels are named with the reason, and run at the least of a few larger sides.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F

from spaces import Architecture, InputError, build, cost, network, networks

SIDES = (32, 64, 80, 96, 128)


def smallest(name: str) -> tuple[Architecture, str]:
    """The network for 10 classes at the least side it accepts, and why not at 32."""
    reason = ""
    for side in SIDES:
        try:
            architecture = network(name, resolution=side, num_classes=10)
            cost(architecture)
            return architecture, reason
        except InputError as error:
            reason = reason or str(error)
    raise InputError(reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    batch = parser.parse_args().batch
    print(f"{torch.get_num_threads()} threads, batch {batch}, forward + backward + SGD step, the second of two")
    print(f"{'network':22} {'side':>4} {'params':>12} {'multiply-adds':>14} {'build s':>8} {'step s':>8}")
    for name in networks():
        architecture, reason = smallest(name)
        price = cost(architecture)
        start = time.perf_counter()
        module = build(architecture)
        built = time.perf_counter() - start
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
        images = torch.randn(batch, architecture.in_channels, *architecture.resolution)
        labels = torch.randint(0, architecture.num_classes, (batch,))
        for _ in range(2):
            start = time.perf_counter()
            logits = module(images)
            logits = logits.flatten(2).mean(2) if logits.dim() > 2 else logits
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            step = time.perf_counter() - start
        side = architecture.resolution[0]
        print(f"{name:22} {side:4} {price.params:12,} {price.flops:14,} {built:8.3f} {step:8.3f}  {reason}", flush=True)


if __name__ == "__main__":
    main()
