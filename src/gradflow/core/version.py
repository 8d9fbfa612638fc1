"""The version: of the distribution, of `gradflow.__version__`, of what records say made them."""

__version__ = "0.2.0"
