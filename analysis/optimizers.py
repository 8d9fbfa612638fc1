"""python analysis/optimizers.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.optimizers import main

if __name__ == "__main__":
    main()
