"""From installed experts to one model: plan, engine, measurement."""
