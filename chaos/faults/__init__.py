"""Everything that can be done to a running round, by name: `FAULTS`."""

from chaos.faults import cluster, partners, stores, workers
from chaos.faults.registry import FAULTS, Fault, Scene, under

__all__ = ["FAULTS", "Fault", "Scene", "cluster", "partners", "stores", "under", "workers"]
