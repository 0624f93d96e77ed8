"""Strategy distill: experts of any architecture and tokenizer teach one pivot (docs/distillation.md)."""
