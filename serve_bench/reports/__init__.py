"""One file a report format; each module exports `ENTRIES`."""
