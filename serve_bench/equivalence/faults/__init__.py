"""Deliberate faults: what is wrong with each copy, and how it is made."""
