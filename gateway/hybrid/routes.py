"""A URLconf as a tree of path segments: enough to tell what most paths lead to, without resolving them.

Resolving a path takes Django tens of microseconds in a project of some size, on the loop, and Django does it once more
when the request runs. But all that matters here is of which kind the view is, and the views below "/api/" mostly are of
one kind. So for each literal beginning of the URLconf's patterns there is a node that says which kind they have in
common, or looks at the next segment. The tree is as large as the URLconf, whatever paths clients send; paths that it
can't tell are resolved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

INTERFACES = ("wsgi", "asgi")

MARK = "gateway_interface"
"""The attribute of a view that says where it runs, whatever it is."""

LITERAL = r"[A-Za-z0-9_/~-]*"
"""What stands for itself in a route, in a regular expression, and in a path as it was sent."""

Tree = dict[bytes | None, Any]
"""What a path segment leads to, and under None what any other does: a kind as `Route.asynchronous` has it, None for
"not known", or a tree for the segment after it."""


class Route(NamedTuple):
    """Where a view is to be found, as far as that is literal."""

    segments: tuple[bytes, ...]
    """What its paths begin with; all of it, if `whole`."""
    whole: bool
    asynchronous: bool
    name: str
    """As `ResolverMatch.route` has it, in the language that is active when the server starts."""


def is_asynchronous(view: Callable[..., Any]) -> bool:
    """Whether `view` runs on the event loop: what it is marked as, else what Django would take it for."""
    from asgiref.sync import iscoroutinefunction

    marked = getattr(view, MARK, None)
    if marked in INTERFACES:
        return bool(marked == "asgi")
    return bool(iscoroutinefunction(view))


def routes_of(resolver: Any) -> Iterator[Route]:
    """The routes of all views below Django's `resolver`."""
    waiting = [(pattern, "", True, "") for pattern in resolver.url_patterns]
    while waiting:
        pattern, text, whole, name = waiting.pop()
        # As URLResolver joins them.
        name += str(pattern.pattern).removeprefix("^" if name else "")
        inner = hasattr(pattern, "url_patterns")
        if whole:
            more, whole = literal(pattern.pattern, not inner)
            text += more
        if inner:
            waiting += [(child, text, whole, name) for child in pattern.url_patterns]
        else:
            yield Route(segments_of(text, whole), whole, is_asynchronous(pattern.callback), name)


def override_route(prefix: str, asynchronous: bool) -> Route:
    """What stands for an override in the tree: a view of its kind that has all paths below `prefix`."""
    text, whole = literal_start(prefix.strip("/"))
    return Route(segments_of(text, whole) if text else (), False, asynchronous, prefix)


def literal(pattern: Any, ends: bool) -> tuple[str, bool]:
    """What the paths that Django's `pattern` matches begin with, and whether that is all it matches.

    `ends`: it is a view's own pattern, not that of a part of the URLconf.
    """
    from django.urls.resolvers import RegexPattern, RoutePattern

    if type(pattern) is RoutePattern:
        return literal_start(written(pattern, "_route"))
    if type(pattern) is RegexPattern:
        text = written(pattern, "_regex")
        if text.startswith("^") and "|" not in text:
            start, whole = literal_start(text[1:].removesuffix("$"))
            return start, whole and (text.endswith("$") or not ends)
    return "", False


def written(pattern: Any, attribute: str) -> str:
    """The text of Django's `pattern`; what can't be taken literally, if it is translated for each request."""
    text = getattr(pattern, attribute, None)
    return text if isinstance(text, str) else "<"


def literal_start(text: str) -> tuple[str, bool]:
    """What `text`, a route or a regular expression, begins with that stands for itself, and whether that is all."""
    found = re.match(LITERAL, text)
    assert found is not None
    start, rest = found[0], text[found.end() :]
    # What can be repeated can be left out.
    return (start[:-1] if rest[:1] in ("?", "*", "+", "{") else start), not rest


def segments_of(text: str, whole: bool) -> tuple[bytes, ...]:
    """The segments of a path, or those that are complete in its beginning."""
    segments = text.encode("ascii").split(b"/")
    return tuple(segments if whole else segments[:-1])


def tree_of(routes: Iterable[Route], depth: int = 0) -> Tree | bool:
    """What to look a path up in, by its segments from the one after `depth`; or the answer, whatever comes there."""
    routes = list(routes)
    kinds = {route.asynchronous for route in routes}
    if len(kinds) < 2:
        # What nothing matches is answered by middleware, or by the view of status 404: synchronous, both.
        return True in kinds
    deeper: dict[bytes, list[Route]] = {}
    anywhere = []
    for route in routes:
        if len(route.segments) > depth:
            deeper.setdefault(route.segments[depth], []).append(route)
        elif not route.whole:
            anywhere.append(route)
    others = {route.asynchronous for route in anywhere}
    tree: Tree = {segment: tree_of(found + anywhere, depth + 1) for segment, found in deeper.items()}
    tree[None] = None if len(others) == 2 else True in others
    return tree
