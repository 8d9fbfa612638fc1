"""Which networks start as an isometry, and which become one? Singular values of their Jacobians."""

from gradflow.analysis.studies.isometry import main

if __name__ == "__main__":
    main()
