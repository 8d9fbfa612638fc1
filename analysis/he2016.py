"""python analysis/he2016.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.he2016 import main

if __name__ == "__main__":
    main()
