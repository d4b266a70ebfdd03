"""The command line: one file per command, whose function's signature is the interface. Nothing here imports torch."""
