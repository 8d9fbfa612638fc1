"""python analysis/modern_residuals.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.modern_residuals import main

if __name__ == "__main__":
    main()
