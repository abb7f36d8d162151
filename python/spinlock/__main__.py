"""``python -m spinlock``: the same as the command ``spinlock``."""

import sys

from spinlock.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
