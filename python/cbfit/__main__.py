"""`python -m cbfit` is the command."""

import sys

from ._cli import main

sys.exit(main())
