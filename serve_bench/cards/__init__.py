"""One file a kind of model card; each module exports `ENTRIES`."""
