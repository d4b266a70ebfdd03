"""Work in several processes: local ones, or tasks of a Ray cluster."""
