"""What does each swept key change? Every run of a study against each key."""

from gradflow.analysis.studies.every_run import main

if __name__ == "__main__":
    main()
