"""What is compiled, and the switches of a build; everything else stands in pyproject.toml.

gateway/_speedups mirrors gateway/core. A .pyx there is a kernel, compiled as it stands. A .pxd without a .pyx
beside it has the module of the same path under gateway/core compiled with its declarations.

GATEWAY_EXTENSIONS  auto (default): compile on CPython, and install as pure Python where that fails;
                    require: compile or fail, and Cython's warnings are errors; off: pure Python
GATEWAY_WERROR=1    with require: the C compiler's warnings are errors too
GATEWAY_ANNOTATE=1  write Cython's annotated pages under build/cython
GATEWAY_TRACE=1     line tracing, for coverage and profilers; slow
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

MODE = os.environ.get("GATEWAY_EXTENSIONS") or "auto"
ANNOTATE = os.environ.get("GATEWAY_ANNOTATE") == "1"
TRACE = os.environ.get("GATEWAY_TRACE") == "1"
MIRROR = Path("gateway", "_speedups")
CHECKS = {"nonecheck": True, "boundscheck": True, "wraparound": True, "overflowcheck": True}
# What Cython's own C can't avoid is left out; the rest of -Wall and -Wextra has something to say about ours.
WARNINGS = "-Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-cast-function-type".split()
WARNINGS += ["-Werror"] if os.environ.get("GATEWAY_WERROR") == "1" else []


def extensions() -> list[Extension]:
    found = {path.with_suffix("") for suffix in ("pyx", "pxd") for path in MIRROR.rglob(f"*.{suffix}")}
    declarations = sorted(map(str, MIRROR.rglob("*.pxd")))
    return [Extension(".".join(path.parts), [source(path)], depends=declarations) for path in sorted(found)]


def source(module: Path) -> str:
    kernel = module.with_suffix(".pyx")
    shared = Path("gateway", "core", *module.parts[2:]).with_suffix(".py")
    return (kernel if kernel.exists() else shared).as_posix()


class BuildExtensions(build_ext):
    """All extensions or none. Cython runs when compiling begins: metadata and the sdist need none of this."""

    def run(self) -> None:
        places = {False, bool(self.inplace)}
        try:
            super().run()
        except (Exception, SystemExit) as error:
            if MODE == "require":
                sys.exit(f"GATEWAY_EXTENSIONS=require, but the extensions could not be built: {error}")
            for self.inplace in places:
                for extension in self.extensions:
                    Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = self.distribution.ext_modules = []
            self.warn(f"gateway is installed as pure Python, slower but complete, as compiling failed: {error}")

    def build_extensions(self) -> None:
        from Cython.Build import cythonize
        from Cython.Compiler import Options

        strict = MODE == "require"
        Options.warning_errors = strict
        flags = ["-O2", "-g" if TRACE else "-g0", *(WARNINGS if strict else [])]
        flags = ["/O2"] if self.compiler.compiler_type == "msvc" else flags
        for extension in self.extensions:
            # A kernel says at its top which checks it goes without; directives given here would overrule it.
            directives = {} if extension.sources[0].endswith(".pyx") else dict(CHECKS)
            # Types come from the .pxd; annotations are for people and mypy.
            directives |= {"language_level": 3, "annotation_typing": False, "linetrace": TRACE}
            directives |= Options.extra_warnings if strict else {}
            # force: Cython looks beside the source for a .pxd that changed, and ours are not there.
            original = Extension(extension.name, extension.sources)
            options = {"build_dir": "build/cython", "annotate": ANNOTATE, "force": True}
            [translated] = cythonize(original, compiler_directives=directives, **options)
            extension.sources = translated.sources
            extension.extra_compile_args += flags
            extension.define_macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if TRACE else []
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()


class Wheel(bdist_wheel):
    """A wheel for any platform if there are no extensions in it, which is known once they were tried."""

    def run(self) -> None:
        self.run_command("build")
        self.root_is_pure = not self.distribution.ext_modules
        super().run()


if MODE not in ("auto", "require", "off"):
    sys.exit(f"GATEWAY_EXTENSIONS must be auto, require or off, not {MODE!r}")
pure = MODE == "off" or (MODE == "auto" and sys.implementation.name != "cpython")
setup(
    ext_modules=[] if pure else extensions(),
    cmdclass={"build_ext": BuildExtensions, "bdist_wheel": Wheel},
)
