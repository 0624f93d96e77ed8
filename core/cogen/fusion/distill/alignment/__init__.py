"""Which rows of two tokenizers predict the same text."""
