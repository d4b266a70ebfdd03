"""Greedy filter pruning: in each round, of all sets of filters that go together, the one that is missed least goes.

candidates      which filters go together, and which of them go first
search          greedy: the rounds; levels: what they chose
schedule        the levels as a schedule
session         names -> model, data, a folder that a search is kept in

Reference:
    Yang, Howard, Chen, Zhang, Go, Sandler, Sze, Adam (2018), NetAdapt: Platform-Aware Neural Network Adaptation for
    Mobile Applications, arXiv:1804.03230: there all candidates of a round save as much of a resource, and the most
    accurate goes on; here they lose so many filters each, and what that saves in multiply-accumulates is weighed. And
    Distiller's ``--greedy``, which does not weigh it (``by="top1"``), and ranks the thinned network anew in each round.
"""

from __future__ import annotations

from schedengine.analysis.greedy.candidates import Candidate, candidates_of
from schedengine.analysis.greedy.search import greedy, levels

__all__ = ["Candidate", "candidates_of", "greedy", "levels"]
