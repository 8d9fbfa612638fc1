"""How far is a study? Runs by state, progress, time left, and what failed."""

from gradflow.analysis.status import main

if __name__ == "__main__":
    main()
