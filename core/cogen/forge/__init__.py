"""Training an expert: texts, continual pre-training, and the filled data card."""
