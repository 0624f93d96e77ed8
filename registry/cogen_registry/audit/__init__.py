"""Who did what, and what was taken down: read and written by every part of the service."""
