"""What all tests share: the helpers in ``tests/support`` can be imported as ``support.…``."""

from __future__ import annotations

import sys
from pathlib import Path

# pytest's import mode "importlib" leaves sys.path alone
sys.path.insert(0, str(Path(__file__).parent))
