"""Finished networks, averaged into one, and everything that such an average is compared with.

members         what the command line names: weights, runs, folders of replicas
settled         model, data and the rest: of the runs, or as given
alike           whether networks are of one architecture, and pruned alike
pot             Pot: any of the networks, averaged, cut back and calibrated
reprune         cut an average of networks that were pruned each by itself back to their sparsity
calibration     batch-norm statistics of an average, from training images
scores          several networks and their ensemble, measured in one pass over the images
corruption      the same on images that were spoiled
distances       how far apart networks are, and in which directions
line            what lies between two networks: barriers
request         what is asked, in plain values; opened: its networks and data, found to go together
table           a row for each network, their mean, the best, the soup, the ensemble
words           what stands below the tables
session         all of it, as the command line asks

Reference:
    Wortsman et al. (2022), Model soups, arXiv:2203.05482. Zimmer, Spiegel, Pokutta (2024), Sparse Model Soups: A Recipe
    for Improved Pruning via Model Averaging, arXiv:2306.16788.
"""

from __future__ import annotations

from schedengine.analysis.soups.alike import check_architectures, check_masks
from schedengine.analysis.soups.distances import measure_distances
from schedengine.analysis.soups.line import barriers, walk_lines
from schedengine.analysis.soups.pot import Pot
from schedengine.analysis.soups.reprune import cutter
from schedengine.analysis.soups.request import Request
from schedengine.analysis.soups.scores import measure_together
from schedengine.analysis.soups.session import Soup, cook

__all__ = [
    "Pot",
    "Request",
    "Soup",
    "barriers",
    "check_architectures",
    "check_masks",
    "cook",
    "cutter",
    "measure_distances",
    "measure_together",
    "walk_lines",
]
