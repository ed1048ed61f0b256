"""Small torch networks with known weights, and their exported forms."""

from __future__ import annotations

import warnings

import torch
from torch import nn


class Folding(nn.Module):
    """conv → batch norm → ReLU → square linear layer: something to fold and something to transpose."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(1, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8, eps=1e-3)
        self.one = nn.Linear(8, 8)
        self.two = nn.Linear(8, 3)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.uniform_(0.5, 2)
            self.norm.bias.normal_()
        self.eval()

    def forward(self, image):
        return self.two(torch.relu(self.one(torch.relu(self.norm(self.conv(image))).mean((2, 3)))))


class Recurrent(nn.Module):
    """An LSTM whose first state the graph itself makes, in float32."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.LSTM(5, 8, batch_first=True)
        self.head = nn.Linear(8, 3)
        self.eval()

    def forward(self, steps):
        return self.head(self.cell(steps)[0][:, -1])


class Log(nn.Module):
    """−∞ at zero, NaN below it."""

    def forward(self, value):
        return torch.log(value)


def program(module, example, path, dynamic=True):
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic else None
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), path)
    return path


def script(module, example, path, freeze=True):
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, example)
        (torch.jit.freeze(traced) if freeze else traced).save(str(path))
    return path


def onnx(path, saved):
    """The ONNX of a saved program."""
    made = torch.onnx.export(
        torch.export.load(saved), dynamo=True, input_names=["image"], output_names=["scores"], verbose=False
    )
    made.save(str(path), external_data=False)
    return path
