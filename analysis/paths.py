"""Through how many branches does a residual network's gradient come back?"""

from gradflow.analysis.studies.paths import main

if __name__ == "__main__":
    main()
