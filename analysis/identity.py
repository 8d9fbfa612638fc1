"""python analysis/identity.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.identity import main

if __name__ == "__main__":
    main()
