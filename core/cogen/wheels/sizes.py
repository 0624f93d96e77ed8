"""How large the weights of an expert may be to travel in its wheel."""

from __future__ import annotations

#: Bytes. Above, weights lie in a repository (``hf://``), which takes them in parts and goes on after an interruption:
#: an index takes a wheel in one piece or not at all, and most of them none above 100 MB.
WEIGHTS_IN_WHEEL = 64 << 20
