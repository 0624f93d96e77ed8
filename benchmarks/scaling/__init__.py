"""Synthetic experts, domains of real text, and designs of evidence for benchmarks/scale.py."""
