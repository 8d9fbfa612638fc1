"""Is the gap only a matter of budget? Training error against what the training cost."""

from gradflow.analysis.studies.equal_compute import main

if __name__ == "__main__":
    main()
