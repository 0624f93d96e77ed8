"""HTTP to a registry: one client for every verb, whose failures are one line with a hint."""

from cogen.remote.client import Client
from cogen.remote.errors import NotThere, RegistryError

__all__ = ["Client", "NotThere", "RegistryError"]
