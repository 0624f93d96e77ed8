"""One run: from a plan to a folder with its lock, card and report."""
