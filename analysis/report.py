"""The report of a study as one self-contained page; for a folder of studies, an index page too."""

from gradflow.analysis.report.page import main

if __name__ == "__main__":
    main()
