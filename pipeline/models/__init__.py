"""One family of models a file; each module exports `ENTRIES`."""
