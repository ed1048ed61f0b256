"""One file a sweep: how latency changes along one axis; each module exports `ENTRIES`."""
