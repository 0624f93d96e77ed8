"""Strategy ``moe``: experts of one base become one sparse mixture of an architecture that transformers has."""
