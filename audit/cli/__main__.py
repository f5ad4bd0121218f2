"""`python -m lossprint.audit.cli`, as torchrun starts it."""

import sys

from lossprint.audit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
