"""`python analysis/readme.py`: see gradflow.analysis.readme."""

from gradflow.analysis.readme import main

if __name__ == "__main__":
    main()
