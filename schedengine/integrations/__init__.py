"""Doors to other programs, one file each; none of them is needed to train."""
