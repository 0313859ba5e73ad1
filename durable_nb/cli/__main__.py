"""``python -m durable_nb.cli``."""

import sys

from durable_nb.cli import main

sys.exit(main())
