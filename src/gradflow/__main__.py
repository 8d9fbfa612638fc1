"""python -m gradflow: the command `gradflow`."""

from gradflow.cli import main

if __name__ == "__main__":  # a process that is spawned imports this file again
    main()
