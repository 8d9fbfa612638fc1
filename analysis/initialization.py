"""python analysis/initialization.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.initialization import main

if __name__ == "__main__":
    main()
