"""Between a publisher, a registry and this environment: publish, search, add, remove, verify."""
