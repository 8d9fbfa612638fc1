"""python analysis/verdict.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.verdict import main

if __name__ == "__main__":
    main()
