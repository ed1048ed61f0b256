"""One file a backend; each module exports `ENTRIES`."""
