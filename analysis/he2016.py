"""Tables 1 and 2 of He et al. 2016, measured here, beside the paper's: shortcuts and placements."""

from gradflow.analysis.studies.he2016 import main

if __name__ == "__main__":
    main()
