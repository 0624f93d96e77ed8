"""Preference fusion: a pivot learns to prefer the better of two answers, against the fusion of its teachers."""
