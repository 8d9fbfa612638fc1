"""Measurements of any network, from outside; they change nothing and leave nothing behind."""

from gradflow.probes.details import between_examples
from gradflow.probes.measurement import Measurement
from gradflow.probes.norms import total_norm
from gradflow.probes.probes import Probes
from gradflow.probes.schedule import fires

__all__ = ["Measurement", "Probes", "between_examples", "fires", "total_norm"]
