"""Interleaved rounds in replicates; the clock itself is in `clock.py`."""

from __future__ import annotations

from serve_bench.latency.clock import Settled, batches_from_samples, settle, timed_runs

__all__ = ["Settled", "batches_from_samples", "settle", "timed_runs"]
