"""Make the database, with one user, and the file that is served: `python -m djangosite.prepare`."""

import os
import random

import django
from django.core.management import call_command


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "djangosite.settings")
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    from django.conf import settings
    from django.contrib.auth.models import User

    User.objects.create_user("ada", password="lovelace")
    (settings.HOME / "file.bin").write_bytes(random.Random(1).randbytes(300_000))


if __name__ == "__main__":
    main()
