"""One run from recipe to folder: prepare, execute, and what came of it; replays and updates are runs too."""
