"""What a run leaves behind: lock, model card, report."""
