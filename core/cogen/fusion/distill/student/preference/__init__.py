"""Preference fusion: a student learns to prefer the better of two answers, against the fusion of its teachers."""
