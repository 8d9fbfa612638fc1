"""Every figure and table of a study, or of all studies in a folder, that is not up to date."""

if __name__ == "__main__":  # before the imports, which take a second
    from gradflow.core.interrupts import leave_at_once

    leave_at_once()

from gradflow.analysis.make import main

if __name__ == "__main__":
    main()
