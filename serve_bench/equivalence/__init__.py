"""Is what is deployed the same model? Verdicts anchored in float64."""
