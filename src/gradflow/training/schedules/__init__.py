"""Learning-rate schedules, one file each; gradflow.training.learning_rate calls them."""
