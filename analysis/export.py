"""`python analysis/export.py`: see gradflow.analysis.export."""

from gradflow.analysis.export import main

if __name__ == "__main__":
    main()
