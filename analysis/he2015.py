"""python analysis/he2015.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.he2015 import main

if __name__ == "__main__":
    main()
