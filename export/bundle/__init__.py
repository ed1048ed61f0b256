"""A deployable model on disk, and the types that flow through the house."""
