"""LoRA adapters as such: put together without loss, merged into their base, or extracted from a whole model."""
