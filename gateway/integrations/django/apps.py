"""What Django knows of the application."""

from __future__ import annotations

from django.apps import AppConfig


class GatewayConfig(AppConfig):  # type: ignore[misc]
    """Has commands, and nothing else."""

    name = "gateway.integrations.django"
    label = "gateway_django"
    verbose_name = "gateway"
