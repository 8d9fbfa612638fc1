"""python analysis/depth_1000.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.depth_1000 import main

if __name__ == "__main__":
    main()
