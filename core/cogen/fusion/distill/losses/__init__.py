"""Distillation losses: each reads rows of logits and a teacher's statistics."""
