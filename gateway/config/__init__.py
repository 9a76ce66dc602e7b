"""Options: the table (`options`), what they become (`settings`), and where their values come from (`sources`)."""

from .addresses import Address
from .settings import Config

__all__ = ["Address", "Config"]
