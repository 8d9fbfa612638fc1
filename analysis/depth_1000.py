"""Do a thousand layers train? Loss by step and gradient by block, plain and residual."""

from gradflow.analysis.studies.depth_1000 import main

if __name__ == "__main__":
    main()
