"""Policies: when something happens, and what it does at each of the six callbacks.

base.py             Policy and the Context every hook gets
pruning.py          cuts at the instants of a pruner's windows
regularization.py   a penalty added to the loss while its window lasts
lr.py               learning rates written into the optimizer
"""
