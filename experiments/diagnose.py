"""Diagnose runs that have ended.

The command `gradflow diagnose`, whose --help has examples and every key.
"""

import sys

from gradflow.cli import main

if __name__ == "__main__":
    main(["diagnose", *sys.argv[1:]])
