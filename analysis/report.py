"""The report of a study as one self-contained page; for a folder of studies, an index page too."""

if __name__ == "__main__":  # before the imports, which take a second
    from gradflow.core.interrupts import leave_at_once

    leave_at_once()

from gradflow.analysis.report.page import main

if __name__ == "__main__":
    main()
