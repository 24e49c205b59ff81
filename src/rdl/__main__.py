"""`python -m rdl` is the command `rdl`."""

import sys

from rdl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
