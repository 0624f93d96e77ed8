"""What every training shares: adapters and the Trainer; the forge and strategy distill use it."""
