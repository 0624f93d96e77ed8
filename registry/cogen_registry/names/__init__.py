"""Signed metadata over HTTP: what clients read under ``/tuf/``, and the chains of projects that publishers send."""
