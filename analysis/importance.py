"""Which of the swept keys matters? The share of the error that each explains."""

from gradflow.analysis.studies.importance import main

if __name__ == "__main__":
    main()
