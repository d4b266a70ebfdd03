"""Dead filters and channels physically removed; networks of other sizes in files. Names are imported from their module.

thin            plan: what can go, and what is refused; settle_
apply           apply_: a plan carried out and verified, optimizer and all, or not at all
check           check: before any training, whether what a schedule prunes can be thinned
graph           dimensions: which channels go together; passing: what operations do to them; layers: where they are
probe           received: which channels can be other than zero
pruned          save_pruned, load_pruned; manifest, reshape_
latency         latency: networks side by side
thinned         Thinned: the record of a thinning
"""
