"""python analysis/learning_rate.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.learning_rate import main

if __name__ == "__main__":
    main()
