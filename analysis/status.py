"""`python analysis/status.py`: see gradflow.analysis.status."""

from gradflow.analysis.status import main

if __name__ == "__main__":
    main()
