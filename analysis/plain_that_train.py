"""python analysis/plain_that_train.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.plain_that_train import main

if __name__ == "__main__":
    main()
