"""A merging library: checkpoints in, one checkpoint out. It knows nothing of plugins, plans or strategies."""
