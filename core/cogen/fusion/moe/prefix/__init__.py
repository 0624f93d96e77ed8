"""Routing ``prefix``: a mixture whose routers read the mean evidence of the tokens before; see docs/prefix-routing.md.

The base's stream gets a few more dimensions. The embedding writes every token's evidence into them, one extra
key-value head of the first layer averages it over the prefix, and every router reads the average. Nothing else reads
those dimensions, so that the rest of the model computes what the base computes.
"""
