"""python analysis/shattered_gradients.py outputs/STUDY: what gradflow.analysis.studies draws."""

from gradflow.analysis.studies.shattered_gradients import main

if __name__ == "__main__":
    main()
