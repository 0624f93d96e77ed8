"""`cogen publish`, one file a step: build, check, weights, upload; ``publish`` puts them together."""
