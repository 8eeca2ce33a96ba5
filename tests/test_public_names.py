"""What `import qrecipe` gives: light, every name there and documented."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import qrecipe


def test_importing_the_package_is_light() -> None:
    heavy = "torch", "transformers", "numpy", "yaml", "rich", "accelerate", "scipy"
    code = f"import sys, qrecipe; print([name for name in {heavy!r} if name in sys.modules], qrecipe.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", qrecipe.__version__]
    assert done.stderr == ""


def test_what_captures_nothing_imports_no_tracer() -> None:
    """It takes seconds: docs/performance.md."""
    code = "import sys, qrecipe.commands.evaluate, qrecipe.commands.plan; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there() -> None:
    assert list(qrecipe.HOMES) == qrecipe.__all__ == sorted(qrecipe.__all__)
    assert set(dir(qrecipe)) == {*qrecipe.__all__, "__doc__", "__version__"}
    for name in qrecipe.__all__:
        assert getattr(qrecipe, name).__module__.startswith("qrecipe.")
        assert inspect.getdoc(getattr(qrecipe, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = qrecipe.nothing


def test_the_page_of_help_names_every_function() -> None:
    assert qrecipe.__doc__
    for name in qrecipe.__all__:
        value = getattr(qrecipe, name)
        if inspect.isfunction(value) and name not in ("describe", "real_valued", "recipe_from_mapping"):
            assert f"qrecipe.{name}(" in qrecipe.__doc__
