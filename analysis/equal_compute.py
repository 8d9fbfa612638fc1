"""python analysis/equal_compute.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.equal_compute import main

if __name__ == "__main__":
    main()
