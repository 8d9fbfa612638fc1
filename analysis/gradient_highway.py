"""python analysis/gradient_highway.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.gradient_highway import main

if __name__ == "__main__":
    main()
