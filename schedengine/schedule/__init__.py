"""YAML <-> objects, both dialects of one language.

source.py        text -> a tree of values with their places
distiller/       Distiller's dialect, rewritten into ours
fields.py        what a registered class says of its keys
reader.py        tree -> objects; every problem with its place
writer.py        objects -> plain values
document.py      Phase, Policy, Schedule
load.py          load_schedule, dump, file_config
plan.py          phases -> the time axis, policies -> windows on it
bind.py          a schedule on a model -> PruningScheduler
sharing.py       what pruners and others may not do to the same parameters
steady.py        pruners that act at every step: what they learn, what they edit
tracing.py       what hangs on how the network's layers are connected
retraining.py    what a file with retraining rates and rewinding must have
budget.py        a schedule in another number of epochs
convert/         version 1 text -> version 2 text, comments kept
describe.py      docstrings as data
json_schema.py   the language as a JSON Schema
"""
