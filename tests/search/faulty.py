"""A user's own block that fails in every way there is, as the text of a module that workers import."""

FAULTY = """
import os, signal, time
import torch
from torch import nn
import spaces

class Faulty(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1, *, fault="none"):
        super().__init__()
        self.fault = fault
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x):
        if self.training and x.device.type != "meta":
            if self.fault == "raises":
                raise RuntimeError("the block's own words")
            if self.fault == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "diverges":
                return self.conv(x) * float("nan")
            if self.fault == "memory":
                torch.empty(2**50)
            if self.fault == "crowded" and len(x) > 32:
                torch.empty(2**50)
            if self.fault == "grows":
                self.kept = []
                while True:
                    self.kept.append(torch.ones(2**20, device=x.device))
            if self.fault == "hangs":
                time.sleep(10_000)
        return self.conv(x)

spaces.BLOCKS["faulty"] = Faulty
"""
