"""Which value of a numeric key is best? Error by value and depth."""

from gradflow.analysis.studies.best_value import main

if __name__ == "__main__":
    main()
