"""LoRA adapters: concatenated without loss, merged into their base, or extracted from a full model."""
