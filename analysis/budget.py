"""python analysis/budget.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.budget import main

if __name__ == "__main__":
    main()
