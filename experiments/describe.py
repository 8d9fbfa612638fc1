"""Print a network's layers, shapes, parameters and multiply-accumulates.

The command `gradflow describe`, whose --help has examples and every key.
"""

import sys

from gradflow.cli import main

if __name__ == "__main__":
    main(["describe", *sys.argv[1:]])
