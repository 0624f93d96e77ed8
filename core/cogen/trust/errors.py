"""What is wrong with a key, a signature or a receipt."""

from __future__ import annotations

from cogen.errors import CogenError


class TrustError(CogenError):
    """Something is not what its publisher signed, or not signed at all."""


class ExtraMissing(TrustError):
    """The extra ``sign`` is not installed."""


def extra_missing(error: ImportError) -> ExtraMissing:
    """Signing needs libraries that the host alone does not."""
    return ExtraMissing(
        f"signatures need the library {(error.name or 'cryptography').partition('.')[0]}, which is not installed",
        hint="pip install 'cogen-core[sign]'",
    )
