"""``python -m cogen`` is ``cogen``."""

import sys

from cogen.cli.main import main

sys.exit(main())
