"""python analysis/curvature.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.curvature import main

if __name__ == "__main__":
    main()
