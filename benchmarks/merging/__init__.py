"""The parts of `benchmarks/merge.py`: checkpoints, both tools, references, and the five measurements."""
