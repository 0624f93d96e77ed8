"""Recipes in mergekit's format (`cogen merge config.yml -o DIR`), run by CoGen's engine.

mergekit (LGPL-3.0) was read for what its recipes mean; none of its code is used here.
"""
