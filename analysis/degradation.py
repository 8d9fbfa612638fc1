"""python analysis/degradation.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.degradation import main

if __name__ == "__main__":
    main()
