"""t2i: text-to-image GANs from captions to scores."""

__version__ = "0.1.0"
