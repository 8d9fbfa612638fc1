"""Do the gradients at different inputs agree, at the bottom of deep random networks?"""

from gradflow.analysis.studies.shattered_gradients import main

if __name__ == "__main__":
    main()
