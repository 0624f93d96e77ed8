"""Which rows of two tokenizers speak of the same text."""
