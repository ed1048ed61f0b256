"""The networks of `rnn.py`: torch is imported here, and only where one is built."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.bundle.types import Value


class OneHotLinear(nn.Module):
    """A linear layer over a one-hot letter: the row of its matrix that the letter chooses. (…) to (…, outputs)."""

    def __init__(self, letters: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(letters, outputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, letter: Tensor) -> Tensor:
        rows = functional.embedding(letter, self.weight)
        return rows if self.bias is None else rows + self.bias


class LetterReader(nn.Module):
    """What a letter adds to the hidden state: a linear layer of it, then `relus` times ReLU, linear in between."""

    def __init__(self, letters: int, hidden: int, relus: int) -> None:
        super().__init__()
        self.linear = OneHotLinear(letters, hidden, bias=relus > 0)
        self.linear2 = nn.Linear(hidden, hidden) if relus > 1 else None
        self.relu = relus > 0

    def forward(self, letter: Tensor) -> Tensor:
        value = self.linear(letter)
        if self.relu:
            value = torch.relu(value)
        if self.linear2 is not None:
            value = torch.relu(self.linear2(value))
        return value


class LetterRnn(nn.Module):
    """letters (B, T), lengths (B,) to log-probabilities (B, classes): h ← read(x) + linear(h), answer from [x; h].

    The answer is that of the last letter, with the hidden state before it. Without ReLU the two linear layers that take
    the letter are parts of layers over [x; h], and are drawn so.
    """

    def __init__(self, letters: int, hidden: int, classes: int, relus: int) -> None:
        super().__init__()
        self.read = LetterReader(letters, hidden, relus)
        self.hidden = nn.Linear(hidden, hidden)
        self.answer_letter = OneHotLinear(letters, classes, bias=False)
        self.answer_hidden = nn.Linear(hidden, classes)
        joint = 1 / math.sqrt(letters + hidden)
        for parameter in (*self.answer_letter.parameters(), *self.answer_hidden.parameters()):
            nn.init.uniform_(parameter, -joint, joint)
        for parameter in self.read.linear.parameters():
            bound = 1 / math.sqrt(letters) if relus else joint
            nn.init.uniform_(parameter, -bound, bound)
        if not relus:
            for parameter in self.hidden.parameters():
                nn.init.uniform_(parameter, -joint, joint)

    def begin(self, options: Mapping[str, Value]) -> None:
        """Lets a recipe choose the first recurrent matrix: `memory` times the identity, so that far letters count."""
        if "memory" in options:
            with torch.no_grad():
                self.hidden.weight.copy_(float(options["memory"]) * torch.eye(self.hidden.out_features))
                self.hidden.bias.zero_()

    def settle(self, options: Mapping[str, Value]) -> None:
        """Lets a recipe bound the recurrent matrix's largest singular value by `largest_gain`, after each epoch.

        At 1 the state grows by no more than each letter adds; above, it grows without end over long names, and beyond
        what float16 holds.
        """
        if "largest_gain" in options:
            with torch.no_grad():
                left, gains, right = torch.linalg.svd(self.hidden.weight)
                self.hidden.weight.copy_(left * gains.clamp_max(float(options["largest_gain"])) @ right)

    def answer(self, letter: Tensor, hidden: Tensor) -> Tensor:
        return torch.log_softmax(self.answer_letter(letter) + self.answer_hidden(hidden), 1)

    def last(self, letters: Tensor, lengths: Tensor) -> Tensor:
        return letters.gather(1, lengths.unsqueeze(1) - 1).squeeze(1)  # (B,)

    def forward(self, letters: Tensor, lengths: Tensor) -> Tensor:
        read = self.read(letters)  # (B, T, H)
        hidden = torch.zeros_like(read[:, 0])
        for t in range(letters.size(1) - 1):
            going_on = (lengths > t + 1).unsqueeze(1)
            hidden = torch.where(going_on, read[:, t] + self.hidden(hidden), hidden)
        return self.answer(self.last(letters, lengths), hidden)


class Scanned(nn.Module):
    """A LetterRnn's own weights and answers, its loop as one operator for a length that is not known."""

    def __init__(self, rnn: LetterRnn) -> None:
        super().__init__()
        for name, child in rnn.named_children():
            self.add_module(name, child)
        self._of = (rnn,)

    def forward(self, letters: Tensor, lengths: Tensor) -> Tensor:
        from torch._higher_order_ops import scan

        (rnn,) = self._of
        read = rnn.read(letters).transpose(0, 1)  # (T, B, H)
        places = torch.arange(1, letters.size(1) + 1, device=letters.device).unsqueeze(1)
        going_on = (lengths.unsqueeze(0) > places).unsqueeze(2)  # (T, B, 1)

        def step(hidden: Tensor, at: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            after = torch.where(at[1], at[0] + rnn.hidden(hidden), hidden)
            return after, after.new_zeros(())  # inductor takes no scan that gives nothing at each step

        first = torch.zeros_like(read[0], memory_format=torch.contiguous_format)
        hidden, _ = scan(step, first, (read, going_on))
        return rnn.answer(rnn.last(letters, lengths), hidden)


class Cell(nn.Module):
    """One letter (B,) and the hidden state (B, H) to the answer so far and the next hidden state; zeros come first."""

    def __init__(self, rnn: LetterRnn) -> None:
        super().__init__()
        for name, child in rnn.named_children():
            self.add_module(name, child)
        self._of = (rnn,)

    def forward(self, letter: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        (rnn,) = self._of
        return rnn.answer(letter, hidden), rnn.read(letter) + rnn.hidden(hidden)
