"""Which entry point of a Django project runs a request."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway import Config, Mount, loader
from gateway.backend import Backend
from gateway.errors import AppLoadError, ClientDisconnected, ConfigError
from gateway.hybrid import AsynchronousContent, Split, SynchronousSide, observe
from gateway.hybrid.routes import is_asynchronous, literal
from gateway.hybrid.split import PATHS, resolve
from gateway.loader.projects import entry_points, is_project
from gateway.server.assembly import load_app

django = pytest.importorskip("django")

from django.conf import settings  # noqa: E402
from django.conf.urls.i18n import i18n_patterns  # noqa: E402
from django.http import HttpResponse, StreamingHttpResponse  # noqa: E402
from django.test import override_settings  # noqa: E402
from django.urls import clear_url_caches, include, path, re_path  # noqa: E402
from django.utils.translation import gettext_lazy  # noqa: E402
from django.views import View  # noqa: E402

WAIT = 20
Asks = Callable[..., bool]


@pytest.fixture(autouse=True, scope="module")
def configured() -> None:
    if not settings.configured:
        settings.configure(ROOT_URLCONF="hybrid_mixed", ALLOWED_HOSTS=["*"], MIDDLEWARE=[], SECRET_KEY="only for tests")
        django.setup()


def sync_view(request: Any, **kwargs: Any) -> HttpResponse:
    return HttpResponse("sync")


async def async_view(request: Any, **kwargs: Any) -> HttpResponse:
    return HttpResponse("async")


class AsyncView(View):
    async def get(self, request: Any) -> HttpResponse:
        return HttpResponse("async")


class SyncView(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("sync")


def marked_view(request: Any) -> HttpResponse:
    return HttpResponse("marked")


marked_view.gateway_interface = "asgi"  # type: ignore[attr-defined]


class AsyncOnly:
    sync_capable = False
    async_capable = True


class ChoosesURLconf:
    sync_capable = async_capable = True


SYNC = [path("", sync_view), path("item/<int:pk>/", sync_view)]
ASYNC = [path("", async_view), path("item/<int:pk>/", async_view)]
MIXED = [
    path("sync", sync_view),
    path("async", async_view),
    path("class/sync", SyncView.as_view()),
    path("class/async", AsyncView.as_view()),
    path("marked", marked_view),
    path("item/<int:pk>", async_view),
    path("item/<str:name>", sync_view),
    path("below/", include(ASYNC)),
]


@pytest.fixture(autouse=True)
def urlconfs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, patterns in (("sync", SYNC), ("async", ASYNC), ("mixed", MIXED)):
        module = types.ModuleType(f"hybrid_{name}")
        module.urlpatterns = patterns  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    clear_url_caches()
    yield
    clear_url_caches()


def split(urlconf: str = "hybrid_mixed", middleware: tuple[str, ...] = (), **overrides: Any) -> Split:
    with override_settings(ROOT_URLCONF=urlconf, MIDDLEWARE=list(middleware)):
        return Split(**overrides)


@pytest.fixture
def asynchronous(build: Backend) -> Asks:
    """Whether the ASGI entry point runs a request, as the request path finds it."""

    def ask(decide: Split, path: bytes, root: str = "", host: str = "") -> bool:
        answer: bool = build.module("http.split").is_asynchronous(decide, path, root, host.encode() or None)
        return answer

    return ask


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("/sync", False),
        ("/async", True),
        ("/class/sync", False),
        ("/class/async", True),
        ("/marked", True),
        ("/item/5", True),
        ("/item/five", False),
        ("/below/", True),
        ("/below/item/3/", True),
        ("/nothing/here", False),
        ("", False),
    ],
)
def test_as_the_view_is(asynchronous: Asks, where: str, expected: bool) -> None:
    decide = split()
    assert asynchronous(decide, where.encode()) is expected
    assert asynchronous(decide, where.encode()) is expected, "from memory"


@pytest.mark.parametrize(("urlconf", "expected"), [("hybrid_sync", False), ("hybrid_async", True)])
def test_views_of_one_kind_need_no_resolution(
    asynchronous: Asks, urlconf: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = split(urlconf)
    monkeypatch.setattr("gateway.hybrid.split.resolve", None)
    assert asynchronous(decide, b"/item/1/") is expected
    assert asynchronous(decide, b"/no/such/thing") is expected


def test_what_is_remembered_is_bounded(asynchronous: Asks) -> None:
    decide = split()
    for number in range(PATHS + 10):
        assert asynchronous(decide, b"/item/%d" % number)
    assert 0 < len(decide.paths) <= PATHS
    decide.paths.clear()
    assert asynchronous(decide, b"/below/item/" + b"7" * 600 + b"/")
    assert not decide.paths


def test_paths_whose_beginning_tells_are_not_resolved(asynchronous: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    decide = split()
    monkeypatch.setattr("gateway.hybrid.split.resolve", None)
    for number in range(10):
        assert asynchronous(decide, b"/below/item/%d/" % number)
        assert not asynchronous(decide, b"/class/sync/%d" % number)
        assert asynchronous(decide, b"/site/below/%d" % number, "/site")
    assert not decide.paths


def random_patterns(random: Random, depth: int = 0) -> list[Any]:
    """A URLconf of literal, converted, regular, translated and optional parts."""
    parts = ["a", "b/", "a/b", "a/b/", "", "<int:n>", "a/<str:s>", "b-<int:n>/", "x.y", "a<slug:g>", gettext_lazy("a/")]
    expressions = ["^a/$", "^a/", "^a", "^ab?/", "^b/(?P<n>[0-9]+)/$", "a", "^(?i:A)/", "^a/|b/", "^a/?b", "^b$", "", "^a/b{2}"]
    patterns = []
    for _ in range(random.randint(1, 5)):
        view: Any = random.choice((sync_view, async_view))
        if depth < 2 and random.random() < 0.4:
            view = include(random_patterns(random, depth + 1))
        if random.random() < 0.4:
            patterns.append(re_path(random.choice(expressions), view))
        else:
            patterns.append(path(random.choice(parts), view))
    if depth == 0 and random.random() < 0.2:
        patterns += i18n_patterns(*random_patterns(random, 1))
    return patterns


def test_the_tree_says_what_resolving_finds(build: Backend) -> None:
    look_up = build.module("http.split").look_up
    random = Random(6)
    told = 0
    module = sys.modules["hybrid_mixed"]
    for _ in range(400):
        clear_url_caches()
        module.urlpatterns = random_patterns(random)  # type: ignore[attr-defined]
        with override_settings(USE_I18N=True):
            decide = split()
            for _ in range(40):
                pieces = [random.choice(("a", "b", "ab", "5", "", "x.y", "b-5", "A", "de", "bb")) for _ in range(4)]
                where = "/" + "/".join(pieces[: random.randint(1, 4)])
                answer = look_up(decide.tree, where.encode())
                match = resolve(where, decide.root, "en")
                told += answer is not None
                if match is not None and answer is not None:
                    assert answer is is_asynchronous(match.func), (where, match.route)
    assert told > 5000


def test_translated_routes_are_not_literal() -> None:
    from django.urls.resolvers import RegexPattern, RoutePattern

    assert literal(RoutePattern("a/b"), True) == ("a/b", True)
    assert literal(RoutePattern(gettext_lazy("a/b")), True) == ("", False)
    assert literal(RegexPattern("^a/b$"), True) == ("a/b", True)
    assert literal(RegexPattern(gettext_lazy("^a/b$")), True) == ("", False)


def test_the_path_is_what_django_gets_to_see(asynchronous: Asks) -> None:
    decide = split()
    assert asynchronous(decide, b"/%61sync")
    assert asynchronous(decide, b"/site/async", "/site")
    assert asynchronous(decide, b"/async", "/site"), "a proxy has removed the root"
    assert not asynchronous(decide, b"/site/sync", "/site")
    assert not asynchronous(decide, b"/site/async")
    assert not asynchronous(decide, b"/\xff%ff")


def test_a_router_before_django_gets_all_requests(asynchronous: Asks) -> None:
    """It may have other applications for paths that Django knows nothing of, or the same ones."""
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
    from django.core.asgi import get_asgi_application

    async def router(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    def entries(application: Any) -> tuple[Any, ...]:
        """Itself, and as runserver has it."""
        with override_settings(STATIC_URL="/static/"):
            return application, ASGIStaticFilesHandler(application)

    for entry in entries(router):
        decide = split(entry=entry)
        assert all(asynchronous(decide, path) for path in (b"/sync", b"/async", b"/nowhere"))
        assert decide.description.endswith("router stands there in front of Django")
        decide = split(entry=entry, wsgi=("/class",))
        assert asynchronous(decide, b"/sync") and asynchronous(decide, b"/nowhere")
        assert not asynchronous(decide, b"/class/sync")
        assert decide.description.startswith("all requests but for --django-wsgi run behind ASGI, since ")
    for entry in entries(get_asgi_application()):
        decide = split(entry=entry)
        assert not asynchronous(decide, b"/sync") and asynchronous(decide, b"/async")


def test_a_router_of_channels(asynchronous: Asks) -> None:
    routing = pytest.importorskip("channels.routing")
    from django.core.asgi import get_asgi_application

    django = get_asgi_application()
    for protocols, expected in (
        ({"http": django, "websocket": django}, False),
        ({"websocket": django}, False),
        ({"http": routing.URLRouter([path("", django)])}, True),
    ):
        assert asynchronous(split(entry=routing.ProtocolTypeRouter(protocols)), b"/sync") == expected


def test_overrides_longest_first_on_segment_borders(asynchronous: Asks) -> None:
    decide = split(asgi=("/sync", "/below/item/3"), wsgi=("/below", "/class/"))
    assert asynchronous(decide, b"/sync")
    assert asynchronous(decide, b"/sync/more")
    assert not asynchronous(decide, b"/syncmore")
    assert not asynchronous(decide, b"/below/")
    assert asynchronous(decide, b"/below/item/3/")
    assert not asynchronous(decide, b"/below/item/33/")
    assert not asynchronous(decide, b"/class/async")


def test_async_only_middleware_takes_everything_along(asynchronous: Asks) -> None:
    decide = split(middleware=(f"{__name__}.AsyncOnly",))
    assert asynchronous(decide, b"/sync")
    assert "AsyncOnly" in decide.description


def test_a_broken_urlconf_is_an_error() -> None:
    with pytest.raises(AppLoadError, match="URLconf hybrid_absent can't be loaded: ModuleNotFoundError"):
        split("hybrid_absent")


def test_urlconf_of_a_host(asynchronous: Asks) -> None:
    decide = split("hybrid_sync")
    assert not asynchronous(decide, b"/async", host="tenant.example")
    decide.learn_urlconf("tenant.example", "hybrid_mixed")
    assert asynchronous(decide, b"/async", host="tenant.example")
    assert not asynchronous(decide, b"/async", host="other.example")
    decide.learn_urlconf("tenant.example", "hybrid_sync")
    assert not asynchronous(decide, b"/async", host="tenant.example")
    for number in range(1000):
        decide.learn_urlconf(f"host{number}.example", "hybrid_mixed")
    assert len(decide.urlconfs) <= 256


def test_language_prefixes(asynchronous: Asks) -> None:
    module = types.ModuleType("hybrid_languages")
    module.urlpatterns = [  # type: ignore[attr-defined]
        path("plain", async_view),
        *i18n_patterns(path("sync", sync_view), path("async", async_view)),
    ]
    sys.modules[module.__name__] = module
    try:
        with override_settings(USE_I18N=True, LANGUAGE_CODE="en"):
            decide = split(module.__name__)
            assert asynchronous(decide, b"/de/async")
            assert asynchronous(decide, b"/en/async")
            assert not asynchronous(decide, b"/de/sync")
            assert not asynchronous(decide, b"/async")
            assert asynchronous(decide, b"/plain")
    finally:
        del sys.modules[module.__name__]


def test_urlconf_of_a_request_is_observed(asynchronous: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.handlers.base import BaseHandler
    from django.test import RequestFactory

    decide = split("hybrid_sync")
    monkeypatch.setattr(BaseHandler, "resolve_request", BaseHandler.resolve_request)
    with override_settings(MIDDLEWARE=["django.middleware.common.CommonMiddleware"]):
        before = BaseHandler.resolve_request
        observe(decide)
        assert BaseHandler.resolve_request is before, "Django's own middleware sets none"
    with override_settings(MIDDLEWARE=[f"{__name__}.ChoosesURLconf"]):
        observe(decide)
    request: Any = RequestFactory().get("/async", headers={"host": "tenant.example"})
    request.urlconf = "hybrid_mixed"
    match = BaseHandler().resolve_request(request)  # type: ignore[attr-defined]
    assert match.func is async_view
    assert asynchronous(decide, b"/async", host="tenant.example")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(WAIT)
    loop.close()


class Parts:
    """Asynchronous content that tells where it is produced, and that it was closed."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.closed = threading.Event()

    async def stream(self, *, endless: bool = False) -> AsyncIterator[str]:
        try:
            for number in range(3):
                self.threads.add(threading.get_ident())
                await asyncio.sleep(0)
                yield f"part {number}\n"
            if endless:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


def test_asynchronous_content_of_a_synchronous_view(asynchronous: Asks, loop: asyncio.AbstractEventLoop) -> None:
    decide = split("hybrid_sync")
    parts = Parts()
    response = StreamingHttpResponse(parts.stream())
    side = SynchronousSide(lambda environ, start_response: response, decide, loop)
    assert not asynchronous(decide, b"/item/1/")
    result = side({"PATH_INFO": "/item/1/"}, None)
    assert list(result) == [b"part 0\n", b"part 1\n", b"part 2\n"]
    assert parts.threads and threading.get_ident() not in parts.threads
    result.close()
    assert response.closed
    assert asynchronous(decide, b"/item/2/"), "the same route, from now on"
    assert not asynchronous(decide, b"/")


def test_other_responses_pass_through(loop: asyncio.AbstractEventLoop) -> None:
    decide = split("hybrid_sync")
    for response in (HttpResponse("x"), StreamingHttpResponse(iter(["x"])), [b"x"]):
        side = SynchronousSide(lambda environ, start_response, response=response: response, decide, loop)
        assert side({"PATH_INFO": "/"}, None) is response


def test_asynchronous_content_ends_with_its_client(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.hybrid.content.LOOK_TIME", 0.01)
    parts = Parts()
    response = StreamingHttpResponse(parts.stream(endless=True))
    content = AsynchronousContent(response, loop, lambda: True)
    assert [next(content) for _ in range(3)] == [b"part 0\n", b"part 1\n", b"part 2\n"]
    with pytest.raises(ClientDisconnected):
        next(content)
    content.close()
    assert parts.closed.wait(WAIT)
    assert response.closed


def test_asynchronous_content_that_fails(loop: asyncio.AbstractEventLoop) -> None:
    async def fails() -> AsyncIterator[str]:
        yield "one"
        raise LookupError("on purpose")

    content = AsynchronousContent(StreamingHttpResponse(fails()), loop)
    assert next(content) == b"one"
    with pytest.raises(LookupError, match="on purpose"):
        next(content)
    content.close()


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, modules in {
        "hybrid_both": ("wsgi", "asgi"),
        "hybrid_half": ("wsgi",),
        "hybrid_none": (),
        "hybrid_app": ("wsgi", "asgi"),
    }.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("app = print\n" if package == "hybrid_app" else "")
        for module in modules:
            (tmp_path / package / f"{module}.py").write_text("application = None\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("hybrid_both", ("hybrid_both.wsgi", "hybrid_both.asgi")),
        ("hybrid_both.wsgi", ("hybrid_both.wsgi", "hybrid_both.asgi")),
        ("hybrid_both.asgi:application", ("hybrid_both.wsgi:application", "hybrid_both.asgi:application")),
    ],
)
def test_entry_points(projects: None, target: str, expected: tuple[str, str]) -> None:
    assert entry_points(target) == expected


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("hybrid_half", "the project hybrid_half has no asgi.py; .*, or serve hybrid_half.wsgi alone$"),
        ("hybrid_none", "the project hybrid_none has no wsgi.py; .* writes$"),
        ("hybrid_absent", "the project hybrid_absent has no wsgi.py"),
        ("not a name", "names no project"),
    ],
)
def test_a_project_without_an_entry_point(projects: None, target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        entry_points(target)


def test_half_a_project_is_no_target(projects: None) -> None:
    """Whoever names a project's package means both of its entry points."""
    with pytest.raises(ConfigError, match=r"^the package hybrid_half has wsgi\.py, and of the two entry points"):
        loader.load("hybrid_half")
    with pytest.raises(ConfigError, match=r"^mount /x: the package hybrid_half has wsgi\.py"):
        loader.load_mounts([Mount("/x", "hybrid_half")])
    with pytest.raises(ConfigError, match=r"write hybrid_both\.wsgi or hybrid_both\.asgi$"):
        loader.load("hybrid_both", interface="wsgi")
    with pytest.raises(AppLoadError, match=r"as in hybrid_none:attribute$"):
        loader.load("hybrid_none")


def test_overrides_without_a_project(projects: None) -> None:
    for options in ({"django_wsgi": ["/x"]}, {"django_asgi": "/x"}, {"django_asgi": "/x", "interface": "asgi"}):
        with pytest.raises(ConfigError, match="chooses between the entry points of a Django project, and none"):
            load_app(None, Config(plain_asgi, **options))
    with pytest.raises(ConfigError, match=r"django_wsgi, .*django_asgi: /x can't be both"):
        Config("mysite", django_wsgi=["/x", "/y"], django_asgi="/x")


async def plain_asgi(scope: Any, receive: Any, send: Any) -> None:
    """An application that is no project."""


def test_a_project_is_recognised(projects: None) -> None:
    assert is_project("hybrid_both")
    assert not is_project("hybrid_half")
    assert not is_project("hybrid_app")
    assert not is_project("hybrid_both.wsgi")
    assert not is_project("hybrid_both:app")
    assert not is_project(print)
