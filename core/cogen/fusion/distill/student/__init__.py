"""The student: its data, its batches, its training."""
