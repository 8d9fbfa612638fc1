"""python analysis/plain_vs_residual.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.plain_vs_residual import main

if __name__ == "__main__":
    main()
