"""The documents whose figures the zoo reproduces."""

from __future__ import annotations

DAY_1 = "Working Notes – Learning PyTorch – Day 1"
DAY_2 = "Working Notes – Learning PyTorch – Day 2"
LECTURE = "Lecture 23 “pytorch – nn”"
JOURNEY = "A journey through Neural Networks – part 2 (MNIST CNN 96.74 % → 99.37 %)"
TP3 = "TP3: NN and CNN with PyTorch"
