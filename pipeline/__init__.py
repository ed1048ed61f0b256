"""Trains and steers: models, data sets, the command line."""

__version__ = "0.1.0"
