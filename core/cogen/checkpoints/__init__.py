"""Weights and tokenizers on disk: sources, safetensors, GGUF, adapters, digests."""
