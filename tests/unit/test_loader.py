"""From a target to an application: finding it, and telling what it speaks."""

from __future__ import annotations

import functools
import itertools
import sys
import traceback
import types
from collections.abc import Iterator

import pytest

from gateway import loader
from gateway.errors import EXIT_APP_LOAD, AppLoadError, ConfigError
from gateway.loader.interfaces import detect

numbers = itertools.count()


@pytest.fixture(autouse=True)
def restored(tmp_path) -> Iterator[None]:
    """What loading changes in the process is put back."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    """Write a module of a fresh name and return the name."""

    def write(source: str, name: str = "") -> str:
        name = name or f"subject{next(numbers)}"
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return name

    return write


@pytest.fixture
def load(tmp_path):
    return functools.partial(loader.load, app_dir=str(tmp_path))


@pytest.fixture
def refuse(load):
    """Load, expect an AppLoadError of one line, and return it."""

    def refuse(target, **options) -> AppLoadError:
        with pytest.raises(AppLoadError) as caught:
            load(target, **options)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == EXIT_APP_LOAD
        return caught.value

    return refuse


WSGI = "def app(environ, start_response):\n    raise SystemExit('called')\n"
ASGI = "async def app(scope, receive, send):\n    raise SystemExit('called')\n"

# -- Finding


def test_module_and_attribute(write, load):
    name = write(WSGI)
    loaded = load(f"{name}:app")
    assert loaded.app is sys.modules[name].app
    assert (loaded.interface, loaded.kind, loaded.name) == ("wsgi", "wsgi", f"{name}:app")


def test_dots_on_both_sides(write, load):
    write("", "pkg.__init__")
    write("import types\n" + ASGI + "site = types.SimpleNamespace(main=types.SimpleNamespace(app=app))\n", "pkg.web")
    assert load("pkg.web:site.main.app").kind == "asgi3"


@pytest.mark.parametrize("attribute", ["application", "app"])
def test_bare_module(write, load, attribute):
    name = write(WSGI.replace("def app", f"def {attribute}"))
    assert load(name).name == f"{name}:{attribute}"


def test_application_comes_before_app(write, load):
    name = write(ASGI + WSGI.replace("def app", "def application"))
    assert load(name).kind == "wsgi"


def test_bare_module_without_either(write, refuse):
    name = write("def create_app(): pass")
    message = str(refuse(name))
    assert "neither `application` nor `app`" in message
    assert f"did you mean {name}:create_app()?" in message


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("make()", "((), {})"),
        ("make('x')", "(('x',), {})"),
        ('make("x", y=1)', "(('x',), {'y': 1})"),
        ("make(-1, [1, {'a': None}], z=(True, b'b'))", "((-1, [1, {'a': None}]), {'z': (True, b'b')})"),
        ("inner.make(1)", "((1,), {})"),
    ],
)
def test_calls_with_literals(write, load, call, result):
    name = write(
        "import types\n" + WSGI + "def make(*args, **kwargs):\n    app.made = repr((args, kwargs))\n    return app\n"
        "inner = types.SimpleNamespace(make=make)\n"
    )
    assert load(f"{name}:{call}").app.made == result


@pytest.mark.parametrize(
    "expression", ["make(x)", "make(f())", "make(*[1])", "make(**{})", "make(__import__('os'))", "make(lambda: 1)"]
)
def test_calls_with_anything_else(write, refuse, expression):
    name = write(WSGI + "def make(*args): raise SystemExit('called')\n")
    assert "an argument is no literal" in str(refuse(f"{name}:{expression}"))


@pytest.mark.parametrize(
    "expression",
    ["a b", "a[0]", "lambda: 1", "(", "a()()", "a().b", "1", "'x'", "a; b", "a, b", "a if b else c", "a\nb", "a."],
)
def test_expressions_that_are_none(write, refuse, expression):
    name = write("raise SystemExit('imported')")
    assert "can't be read" in str(refuse(f"{name}:{expression}"))


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("", "write module:attribute"),
        (":app", "write module:attribute"),
        ("my-app:app", "write module:attribute"),
        (".app:app", "write module:attribute"),
        ("app:", "write app:app"),
        ("app.py", "name the module: app:app"),
        ("src/app.py:main", "name the module: app:main with --app-dir src"),
        ("src/app", "name the module: app:app with --app-dir src"),
    ],
)
def test_targets_that_are_none(refuse, target, hint):
    assert hint in str(refuse(target))


def test_missing_module(write, refuse, tmp_path):
    write("", "webapp")
    error = refuse("webap:app")
    assert f"no module webap in {tmp_path}" in str(error)
    assert "did you mean webapp?" in str(error)
    assert not error.show_traceback
    assert "--app-dir" in str(refuse("xyzzy:app"))


def test_missing_submodule(write, refuse):
    write("", "pkg.__init__")
    error = refuse("pkg.nothing:app")
    assert "no module pkg.nothing" in str(error)
    assert not error.show_traceback


def test_a_module_taken_for_a_package(write, refuse):
    name = write(WSGI)
    assert f"did you mean {name}:app?" in str(refuse(f"{name}.app"))


def test_an_import_inside_the_application_fails(write, refuse):
    name = write("import no_such_thing\n" + WSGI)
    error = refuse(f"{name}:app")
    assert "no_such_thing, which is not installed" in str(error)
    assert error.show_traceback
    assert f"{name}.py" in "".join(traceback.format_exception(error.__cause__))


def test_a_missing_name_that_only_starts_alike(write, refuse):
    # "sub" is missing, "sub2" was asked for: not the same module.
    write("import sub\n", "sub2")
    error = refuse("sub2:app")
    assert error.show_traceback
    assert "needs the module sub," in str(error)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("1/0", "ZeroDivisionError: division by zero"),
        ("def app(:", "SyntaxError"),
        ("raise ValueError", "ValueError"),
        ("raise ValueError('a\\nb')", "ValueError: a"),
        ("raise ModuleNotFoundError('by hand')", "by hand"),
        ("import sys; sys.exit(3)", "sys.exit(3)"),
    ],
)
@pytest.mark.parametrize("attribute", [":app", ""])
def test_an_application_that_fails_to_import(write, refuse, source, text, attribute):
    error = refuse(f"{write(source)}{attribute}")
    assert text in str(error)
    assert error.show_traceback
    assert error.__cause__ is not None


def test_ctrl_c_during_import(write, load):
    name = write("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load(f"{name}:app")


def test_missing_attribute(write, refuse):
    name = write("class site: pass\n" + WSGI)
    assert str(refuse(f"{name}:ap")) == f"module {name} has no attribute 'ap'; did you mean app?"
    assert str(refuse(f"{name}:xyzzy")) == f"module {name} has no attribute 'xyzzy'; it has 'app'"
    assert str(refuse(f"{name}:site.app")).startswith(f"{name}:site has no attribute 'app'")


def test_an_attribute_that_raises(write, refuse):
    name = write("def __getattr__(name): raise RuntimeError('lazy')")
    error = refuse(f"{name}:app")
    assert "RuntimeError: lazy" in str(error)
    assert error.show_traceback


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("app = None", "is None"),
        ("app = 3", "is an int"),
        ("app = 'x'", "is a str"),
        ("import os as app", "is a module"),
    ],
)
def test_not_callable(write, refuse, source, words):
    assert words in str(refuse(f"{write(source)}:app"))


# -- The import path


def test_app_dir_goes_first(tmp_path, monkeypatch, write, load):
    name = write(WSGI)
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{name}.py").write_text(ASGI)
    assert load(f"{name}:app", app_dir=str(other)).kind == "asgi3"
    assert sys.path[0] == str(other)


def test_the_current_directory_is_the_default(tmp_path, monkeypatch, write):
    name = write(WSGI)
    monkeypatch.chdir(tmp_path)
    assert loader.load(f"{name}:app").kind == "wsgi"


def test_pythonpath(tmp_path, load):
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "in_lib.py").write_text(WSGI)
    assert load("in_lib:app", pythonpath=(str(lib),)).kind == "wsgi"
    assert sys.path[:2] == [str(tmp_path), str(lib)]


def test_app_dir_that_is_none(tmp_path, load):
    with pytest.raises(ConfigError, match="does not exist"):
        load("x:y", app_dir=str(tmp_path / "nothing"))


def test_objects_leave_the_import_path_alone():
    before = list(sys.path)
    loader.load(wsgi_function)
    assert sys.path == before


# -- Factories


def test_factory(write, load):
    name = write(ASGI + "def make(): return app\n")
    loaded = load(f"{name}:make", factory=True)
    assert loaded.kind == "asgi3"
    assert loaded.app is sys.modules[name].app


def test_factory_object(load):
    assert loader.load(lambda: wsgi_function, factory=True).app is wsgi_function


def test_factory_of_an_application(write, refuse):
    message = str(refuse(f"{write(WSGI)}:app", factory=True))
    assert "missing a required argument: 'environ'" in message
    assert "leave --factory or () out" in message


def test_factory_with_wrong_arguments(write, refuse):
    name = write("def make(a): raise SystemExit\n")
    message = str(refuse(f"{name}:make(1, 2)"))
    assert "too many positional arguments" in message
    assert "leave" not in message


def test_factory_that_raises(write, refuse):
    error = refuse(f"{write('def make(): raise TypeError(1)')}:make()")
    assert "failed: TypeError: 1" in str(error)
    assert error.show_traceback


def test_factory_without_result(write, refuse):
    assert "is None" in str(refuse(f"{write('def make(): pass')}:make()"))


def test_factory_that_is_a_coroutine_function(write, refuse):
    assert "coroutine function" in str(refuse(f"{write('async def make(): pass')}:make()"))


def test_factory_that_can_not_be_called(write, refuse):
    assert "is no factory" in str(refuse(f"{write('make = 3')}:make()"))


def test_a_factory_taken_for_an_application(write, refuse):
    name = write("def make(config=None): raise SystemExit('called')")
    assert "--factory" in str(refuse(f"{name}:make"))
    name = write("def make(): raise SystemExit('called')")
    assert "--factory" in str(refuse(f"{name}:make"))
    assert "--factory" not in str(refuse(f"{write('def view(request): raise SystemExit')}:view"))


# -- What it speaks


def wsgi_function(environ, start_response):
    raise NotImplementedError


async def asgi_function(scope, receive, send):
    raise NotImplementedError


class WSGIObject:
    def __call__(self, environ, start_response):
        raise NotImplementedError


class ASGIObject:
    async def __call__(self, scope, receive, send):
        raise NotImplementedError

    async def method(self, scope, receive, send):
        raise NotImplementedError

    @classmethod
    async def on_class(cls, scope, receive, send):
        raise NotImplementedError

    @staticmethod
    async def static(scope, receive, send):
        raise NotImplementedError

    def wsgi_method(self, environ, start_response):
        raise NotImplementedError


class ASGI2Class:
    def __init__(self, scope):
        raise NotImplementedError

    async def __call__(self, receive, send):
        raise NotImplementedError


class WSGIClass:
    def __init__(self, environ, start_response):
        raise NotImplementedError

    def __iter__(self):
        raise NotImplementedError


class ASGI3Class:
    def __init__(self, scope, receive, send):
        raise NotImplementedError

    def __await__(self):
        raise NotImplementedError


def asgi2_function(scope):
    raise NotImplementedError


def plain_asgi(scope, receive, send):
    return asgi_function(scope, receive, send)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def async_decorated(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return await function(*args, **kwargs)

    return wrapper


@functools.wraps(wsgi_function)
async def adapted(scope, receive, send):
    raise NotImplementedError


def wsgi_with_more(environ, start_response, exc_info=None):
    raise NotImplementedError


async def asgi_with_more(scope, receive, send, *, log=None):
    raise NotImplementedError


def asgi_open(scope, *args):
    raise NotImplementedError


def with_settings(settings, environ, start_response):
    raise NotImplementedError


async def with_settings_async(settings, scope, receive, send):
    raise NotImplementedError


class Patched(WSGIObject):
    """What instrumentation does to a framework's class."""

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


class PatchedASGI(ASGIObject):
    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)


class StaticCall:
    @staticmethod
    async def __call__(scope, receive, send):
        raise NotImplementedError


class NoAnnotationsHelp:
    def __call__(self, scope, receive, send):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        (wsgi_function, "wsgi"),
        (lambda e, s: [], "wsgi"),
        (lambda *, key=1: None, None),
        (WSGIObject(), "wsgi"),
        (ASGIObject().wsgi_method, "wsgi"),
        (WSGIClass, "wsgi"),
        (wsgi_with_more, "wsgi"),
        (functools.partial(with_settings, {}), "wsgi"),
        (decorated(wsgi_function), "wsgi"),
        (decorated(decorated(wsgi_function)), "wsgi"),
        (Patched(), "wsgi"),
        (asgi_function, "asgi3"),
        (ASGIObject(), "asgi3"),
        (ASGIObject().method, "asgi3"),
        (ASGIObject.on_class, "asgi3"),
        (ASGIObject.static, "asgi3"),
        (ASGI3Class, "asgi3"),
        (StaticCall(), "asgi3"),
        (plain_asgi, "asgi3"),
        (lambda scope, receive, send: None, "asgi3"),
        (functools.partial(with_settings_async, {}), "asgi3"),
        (functools.partial(functools.partial(with_settings_async), {}), "asgi3"),
        (decorated(asgi_function), "asgi3"),
        (async_decorated(asgi_function), "asgi3"),
        (async_decorated(decorated(asgi_function)), "asgi3"),
        (adapted, "asgi3"),
        (asgi_with_more, "asgi3"),
        (asgi_open, "asgi3"),
        (PatchedASGI(), "asgi3"),
        (NoAnnotationsHelp(), "asgi3"),
        (asgi2_function, "asgi2"),
        (ASGI2Class, "asgi2"),
        (functools.partial(ASGI2Class), "asgi2"),
    ],
)
def test_detection(app, kind):
    assert detect(app) == kind


async def view(request):
    raise NotImplementedError


async def agen(scope, receive, send):
    yield


class ThreeInit:
    def __init__(self, a, b, c):
        raise NotImplementedError


class Half:
    async def __call__(self, receive, send):
        raise NotImplementedError


class TwoInit:
    def __init__(self, a, b):
        raise NotImplementedError


@pytest.mark.parametrize(
    "app",
    [
        lambda *args: None,
        lambda request: None,
        view,
        agen,
        dict,
        int,
        TwoInit,
        ThreeInit,
        lambda request, extra=None: None,
        Half(),
        decorated,
        lambda scope, x: None,
        print,
    ],
)
def test_what_can_not_be_told(app):
    assert detect(app) is None
    with pytest.raises(AppLoadError, match="say --interface wsgi or asgi"):
        loader.load(app)
    # The option settles it.
    assert loader.load(app, interface="wsgi").kind == "wsgi"
    assert loader.load(app, interface="asgi").kind == "asgi3"
    assert loader.load(app, interface="asgi2").kind == "asgi2"


def test_wrappers_in_a_circle():
    def app(*args):
        raise NotImplementedError

    app.__wrapped__ = app
    assert detect(app) is None


def test_a_broken_signature():
    class Odd:
        __signature__ = "no signature"

        def __call__(self, environ, start_response):
            raise NotImplementedError

    assert detect(Odd()) in ("wsgi", None)


@pytest.mark.parametrize(
    ("app", "interface", "message"),
    [
        (
            wsgi_function,
            "asgi",
            "is a WSGI application, but --interface asgi was given; say --interface wsgi or leave it out",
        ),
        (wsgi_function, "asgi3", "is a WSGI application"),
        (
            asgi_function,
            "wsgi",
            "is an ASGI application, but --interface wsgi was given; say --interface asgi or leave it out",
        ),
        (asgi_function, "asgi2", "is an ASGI application"),
        (asgi2_function, "asgi3", "is an ASGI 2 application"),
        (asgi2_function, "wsgi", "is an ASGI 2 application"),
        (asgi_function, "rsgi", "no such interface: 'rsgi'"),
    ],
)
def test_an_interface_that_does_not_fit(app, interface, message):
    with pytest.raises(AppLoadError) as caught:
        loader.load(app, interface=interface)
    assert message in str(caught.value)


def test_the_interface_that_fits():
    assert loader.load(asgi2_function, interface="asgi").kind == "asgi2"
    assert loader.load(asgi_function, interface="asgi3").kind == "asgi3"
    assert loader.load(wsgi_function, interface="wsgi").interface == "wsgi"


def test_a_module_as_object():
    with pytest.raises(AppLoadError, match="is a module"):
        loader.load(types.ModuleType("thing"))


def test_names_of_objects():
    assert loader.load(wsgi_function).name.endswith(":wsgi_function")
    assert loader.load(WSGIObject()).name.endswith(":WSGIObject object")
    assert loader.load(functools.partial(with_settings, {})).name.endswith(":with_settings")


# -- Frameworks


def test_flask():
    flask = pytest.importorskip("flask")
    app = flask.Flask("x")
    assert loader.load(app).kind == "wsgi"
    assert loader.load(app.wsgi_app).kind == "wsgi"


def test_werkzeug_middleware():
    pytest.importorskip("werkzeug")
    from werkzeug.middleware.proxy_fix import ProxyFix

    assert loader.load(ProxyFix(wsgi_function)).kind == "wsgi"


def test_starlette_and_fastapi():
    fastapi = pytest.importorskip("fastapi")
    from starlette.applications import Starlette
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.responses import PlainTextResponse

    assert loader.load(Starlette()).kind == "asgi3"
    assert loader.load(fastapi.FastAPI()).kind == "asgi3"
    assert loader.load(GZipMiddleware(Starlette())).kind == "asgi3"
    assert loader.load(PlainTextResponse("x")).kind == "asgi3"


def test_django(monkeypatch):
    pytest.importorskip("django")
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    # Made without their __init__, which wants settings.
    assert loader.load(WSGIHandler.__new__(WSGIHandler)).kind == "wsgi"
    assert loader.load(ASGIHandler.__new__(ASGIHandler)).kind == "asgi3"


def test_adapters_of_asgiref():
    asgiref = pytest.importorskip("asgiref.wsgi")
    from asgiref.compatibility import guarantee_single_callable

    assert loader.load(asgiref.WsgiToAsgi(wsgi_function)).kind == "asgi3"
    assert loader.load(guarantee_single_callable(asgi2_function)).kind == "asgi3"


def test_wsgiref():
    from wsgiref.simple_server import demo_app
    from wsgiref.validate import validator

    assert loader.load(demo_app).kind == "wsgi"
    # Takes *args, so nothing tells.
    with pytest.raises(AppLoadError, match="--interface"):
        loader.load(validator(demo_app))
