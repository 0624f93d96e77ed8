"""What a plugin declares: frozen pydantic models, no torch, no I/O."""
