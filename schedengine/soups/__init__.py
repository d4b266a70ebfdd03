"""Several trainings of one pruned network, averaged into one network."""

from schedengine.registry import Registry

SOUPS = Registry(
    "soup",
    {
        "uniform": "schedengine.soups.recipes:Uniform",
        "greedy": "schedengine.soups.recipes:Greedy",
    },
)
"""Which of the candidates go into the average."""
