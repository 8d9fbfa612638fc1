"""python analysis/paths.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.paths import main

if __name__ == "__main__":
    main()
