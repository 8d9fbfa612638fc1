"""Does training error rise with depth? Plain against residual networks of a study."""

from gradflow.analysis.studies.degradation import main

if __name__ == "__main__":
    main()
