"""Download CIFAR-10 from the Hugging Face hub.

The command `gradflow download`, whose --help has examples and every key.
"""

import sys

from gradflow.cli import main

if __name__ == "__main__":
    main(["download", *sys.argv[1:]])
