"""python analysis/landscape.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.landscape import main

if __name__ == "__main__":
    main()
