"""One file a format; each module exports `ENTRIES`."""
