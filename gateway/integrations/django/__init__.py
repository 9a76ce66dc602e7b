"""A Django application: `manage.py gateway`, and a `manage.py runserver` that serves with gateway.

Put "gateway.integrations.django" first in INSTALLED_APPS: of several applications with a command of one name, the first
one has it.
"""
