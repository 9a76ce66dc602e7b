"""Options: the table (`options`), where their values come from (`sources`), what they mean for each other (`rules`),
and what they become (`settings`, `sections`).
"""

from .addresses import Address
from .settings import Config

__all__ = ["Address", "Config"]
