"""Measurements of a network, taken from outside."""

from gradflow.probes.gradients import GradientProbe, Gradients
from gradflow.probes.schedule import fires

__all__ = ["GradientProbe", "Gradients", "fires"]
