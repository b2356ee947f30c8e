"""The folder is the registry: a module in ``systems/`` is a system, one in ``terms/`` a term.

Adding one means adding a file. Only the module that is asked for is imported.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from t2icli.errors import RecipeError

LONGEST = 60  # letters of a name in a message


def available(package: str) -> list[str]:
    """Names of the modules in a package, sorted; names that begin with an underscore are not offered."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """Import one module of a package; an unknown name raises ``RecipeError`` with the nearest known one."""
    return importlib.import_module(find(package, name))


def find(package: str, name: str) -> str:
    """The same without importing it: its name as Python has it.

    A name may have hyphens where its module's file has underscores, as ``ln-coco`` has.
    """
    names, module = available(package), name.replace("-", "_")
    if module not in names:
        kind = package.rpartition(".")[2]
        raise RecipeError(f"{kind}: there is no {name[:LONGEST]!r}; {nearest(name, names)}")
    return f"{package}.{module}"


def nearest(name: str, names: list[str]) -> str:
    """The part of a message that helps with a name that is not known."""
    close = difflib.get_close_matches(name[:LONGEST], names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"available: {', '.join(names)}"
