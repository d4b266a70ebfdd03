"""How much each parameter can lose: prune one at a time to several levels, measure, say so.

levels       the sparsities: "0:0.95:0.05"
cells        one parameter, or the whole network, at one level: which weights go
sweep        measures cells on batches, exactly, or with a function of the user's
counts       what is counted of a cell; adds up over batches and shards
fast         scores without computing twice what cells share, and how far to trust them
stages       the traced network, entered at the pruned layer
steps        the graph as a row of steps
operations   what the steps do, with other weights
memory       who may overwrite what
trace        a model as a graph
paths        batch size, memory layout and precision of the fast way
plain        the model itself with other weights, and put back
"""
