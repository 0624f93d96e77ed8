"""The registry: teams publish, integrators search, verify and install. It imports ``cogen``, never the other way."""
