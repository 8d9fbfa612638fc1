"""Test what is published and derived by what this suite measures.

The command `gradflow acceptance`, whose --help has examples and every key.
"""

import sys

from gradflow.cli import main

if __name__ == "__main__":
    main(["acceptance", *sys.argv[1:]])
