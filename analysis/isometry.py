"""python analysis/isometry.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.isometry import main

if __name__ == "__main__":
    main()
