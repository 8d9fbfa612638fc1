"""`python analysis/make.py`: see gradflow.analysis.make."""

from gradflow.analysis.make import main

if __name__ == "__main__":
    main()
