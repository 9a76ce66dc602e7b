"""What the project's settings say of the server, and which of its entry points is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from ...config.options import BY_NAME
from ...config.sources import check_table
from ...errors import ConfigError
from ...loader.projects import is_project


def configured() -> Mapping[str, Any]:
    """The setting GATEWAY, options by name. Raises ConfigError."""
    table = getattr(settings, "GATEWAY", {})
    where = f"{settings.SETTINGS_MODULE}: GATEWAY"
    if not isinstance(table, Mapping):
        raise ConfigError(f'{where}: expected a dict of options, as in {{"workers": 4}}, not {table!r}')
    given = check_table({str(name): value for name, value in table.items()}, where)
    # Here, where a message can say where it stands; the program that takes the options knows no settings.
    for name, (value, source) in given.items():
        BY_NAME[name].read(value, source.text)
    return {name: value for name, (value, _) in given.items()}


def target_for(interface: str) -> str:
    """The target for `interface`, out of the settings; for auto, both entry points where the project has them."""
    wsgi = dotted_target(settings.WSGI_APPLICATION) or "django.core.wsgi:get_wsgi_application()"
    asgi = dotted_target(getattr(settings, "ASGI_APPLICATION", None))
    if interface == "wsgi":
        return wsgi
    if interface.startswith("asgi"):
        return asgi or "django.core.asgi:get_asgi_application()"
    package = project_package()
    if interface == "django" or (package and is_project(package)):
        return package
    return asgi or wsgi


def project_package() -> str:
    """The package that the project's modules wsgi and asgi are in; "" where the settings name other ones."""
    for name, module in (("WSGI_APPLICATION", "wsgi"), ("ASGI_APPLICATION", "asgi")):
        dotted: str | None = getattr(settings, name, None)
        package, separator, _ = (dotted or "").rpartition(f".{module}.")
        if separator:
            return package
    return ""


def dotted_target(dotted: str | None) -> str | None:
    """ "mysite.wsgi.application" as gateway writes it."""
    if not dotted:
        return None
    module, _, attribute = dotted.rpartition(".")
    return f"{module}:{attribute}"


def told(given: Mapping[str, Any], environ: Mapping[str, str], *names: str) -> str | None:
    """What one of the options `names` is set to, on the command line, in the environment or in GATEWAY."""
    table = configured()
    for name in names:
        value = given.get(name) or environ.get(f"GATEWAY_{name.upper()}") or table.get(name)
        if value:
            return str(value)
    return None
