"""Strategy distill: experts of any architecture and tokenizer teach one student (docs/distillation.md)."""
