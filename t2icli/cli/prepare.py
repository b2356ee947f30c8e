"""``t2i prepare``: raw images and captions into shards."""


def prepare(dataset: str) -> None:
    """Prepare a data set."""
