"""``python -m gateway.config`` prints the option table of the README."""

import sys

from gateway.config.usage import markdown

if __name__ == "__main__":
    sys.stdout.write(markdown())
