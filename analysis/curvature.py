"""How sharp is the loss, by layer group? The Hessian's largest eigenvalues and traces."""

from gradflow.analysis.studies.curvature import main

if __name__ == "__main__":
    main()
