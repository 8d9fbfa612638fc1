"""python analysis/lesion.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.lesion import main

if __name__ == "__main__":
    main()
