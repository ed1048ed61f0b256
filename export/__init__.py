"""Makes what is deployed: bundles and the formats in them."""
