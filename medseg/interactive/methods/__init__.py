"""Methods that need no training, by name: from a region with seeds to a mask."""

from medseg.interactive.methods.graph_cut import graph_cut
from medseg.interactive.methods.grow_cut import grow_cut, grow_from_seeds
from medseg.interactive.methods.random_walker import random_walker
from medseg.interactive.region import Method

METHODS: dict[str, Method] = {
    "graph_cut": graph_cut,
    "grow_cut": grow_cut,
    "random_walker": random_walker,
}

__all__ = ["METHODS", "graph_cut", "grow_cut", "grow_from_seeds", "random_walker"]
