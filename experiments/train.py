"""Train one network, or a study of many.

The command `gradflow train`, whose --help has examples and every key.
"""

import sys

from gradflow.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
