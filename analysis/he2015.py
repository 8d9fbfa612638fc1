"""Figure 6 and table 6 of He et al. 2015, beside the published numbers."""

from gradflow.analysis.studies.he2015 import main

if __name__ == "__main__":
    main()
