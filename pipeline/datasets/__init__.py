"""One data set a file; each module exports `ENTRIES`."""
