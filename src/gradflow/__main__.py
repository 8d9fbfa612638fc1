"""python -m gradflow: the command `gradflow`."""

from gradflow.cli import main

main()
