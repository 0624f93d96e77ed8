"""Weights: the Hub's protocol, as unmodified ``huggingface_hub`` speaks it."""
