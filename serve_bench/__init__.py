"""Runs what was exported: backends, equivalence, latency, reports."""
