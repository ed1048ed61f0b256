"""One file a LoadGen scenario; each module exports `ENTRIES`. Importing one imports no LoadGen."""
