"""Tests train small networks, on which several threads only wait for each other."""

import torch

torch.set_num_threads(1)
