"""Search for the best values of any config keys.

The command `gradflow tune`, whose --help has examples and every key.
"""

import sys

from gradflow.cli import main

if __name__ == "__main__":
    main(["tune", *sys.argv[1:]])
