"""What loading gives: an application and what it speaks, a Django project, or several in their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ..config.mounts import Mount

Interface = Literal["wsgi", "asgi"]
AppKind = Literal["wsgi", "asgi3", "asgi2"]


class LoadedApp(NamedTuple):
    """An application, and what it speaks."""

    app: Callable[..., Any]
    interface: Interface
    kind: AppKind
    name: str
    """For people: the target, or the object's own name."""

    @property
    def applications(self) -> tuple[LoadedApp, ...]:
        """Itself: as `LoadedMounts` has it."""
        return (self,)


class LoadedProject(NamedTuple):
    """A Django project, by both of its entry points."""

    wsgi: LoadedApp
    asgi: LoadedApp
    name: str

    @property
    def interface(self) -> Literal["django"]:
        """As `LoadedApp` has it."""
        return "django"

    @property
    def kind(self) -> Literal["django"]:
        """As `LoadedApp` has it."""
        return "django"

    @property
    def app(self) -> Callable[..., Any]:
        """The WSGI entry point."""
        return self.wsgi.app

    @property
    def applications(self) -> tuple[LoadedApp, ...]:
        """Both."""
        return (self.wsgi, self.asgi)


class LoadedMount(NamedTuple):
    """A mount, and its application."""

    mount: Mount
    app: LoadedApp | LoadedProject


class LoadedMounts(NamedTuple):
    """Several applications in their places."""

    mounts: tuple[LoadedMount, ...]

    @property
    def app(self) -> dict[str, Any]:
        """The applications themselves, by their paths."""
        return {mount.path: loaded.app for mount, loaded in self.mounts}

    @property
    def applications(self) -> tuple[LoadedApp, ...]:
        """The applications, in the order they were given."""
        return tuple(app for _, loaded in self.mounts for app in loaded.applications)


Loaded = LoadedApp | LoadedProject | LoadedMounts
