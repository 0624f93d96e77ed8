"""The parts of ``benchmarks/moe.py``."""
