"""A study as one page that opens without a network; of a folder of studies, an index page."""

from gradflow.analysis.report.page import main

if __name__ == "__main__":
    main()
