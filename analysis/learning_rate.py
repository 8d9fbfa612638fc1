"""Does the gap close if each network has its own best learning rate? Rate x depth x skip."""

from gradflow.analysis.studies.learning_rate import main

if __name__ == "__main__":
    main()
