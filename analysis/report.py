"""`python analysis/report.py`: see gradflow.analysis.report.page."""

from gradflow.analysis.report.page import main

if __name__ == "__main__":
    main()
