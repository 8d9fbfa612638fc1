"""How far is a study? Runs by state, progress, time left, and what failed."""

if __name__ == "__main__":  # before the imports, which take a second
    from gradflow.core.interrupts import leave_at_once

    leave_at_once()

from gradflow.analysis.status import main

if __name__ == "__main__":
    main()
