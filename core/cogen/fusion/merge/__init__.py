"""Strategy ``merge``: experts of one base become one dense model."""
