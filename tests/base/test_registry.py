"""Registries: names, numbers, and what is said about names that do not exist."""

import sys
import threading

import pytest

from tnnquant.base.registry import Registry, declared_codes
from tnnquant.errors import ConfigError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package ``things`` whose modules register themselves, and gives back its registry."""
    folder = tmp_path / "things_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(
        "from tnnquant.base.registry import Registry\nREGISTRY = Registry('thing', 'things_of_a_test')\n"
    )
    for name, code in (("zebra", 1), ("apple", 7), ("mango", 0)):
        (folder / f"{name}.py").write_text(
            "from things_of_a_test.base import REGISTRY\n"
            f"@REGISTRY.register('{name}', {code})\ndef make():\n    return {code}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    import things_of_a_test.base

    yield things_of_a_test.base.REGISTRY
    for name in [name for name in sys.modules if name.startswith("things_of_a_test")]:
        del sys.modules[name]


def test_modules_are_imported_at_the_first_look_up(package):
    assert "things_of_a_test.zebra" not in sys.modules
    assert package.find("zebra")() == 1
    assert "things_of_a_test.mango" in sys.modules


def test_codes_are_in_order_of_the_numbers(package):
    assert list(package.codes().items()) == [(0, "mango"), (1, "zebra"), (7, "apple")]


def test_register_gives_the_entry_back():
    def entry():
        pass

    assert Registry("thing", "tnnquant.weights").register("a", 1)(entry) is entry


@pytest.mark.parametrize(("name", "code"), [("a", 2), ("b", 1), ("a", 1)])
def test_a_name_or_number_is_used_once(name, code):
    registry = Registry("thing", "tnnquant.weights")
    registry.register("a", 1)(object())
    with pytest.raises(ValueError, match=f"thing {name} \\({code}\\) is registered twice"):
        registry.register(name, code)(object())


def test_an_unknown_name_lists_the_known_ones(package):
    with pytest.raises(ConfigError, match=r"no thing 'qqq'; known: mango, zebra, apple"):
        package.find("qqq")


def test_a_near_miss_is_suggested(package):
    with pytest.raises(ConfigError, match=r"did you mean zebra\?"):
        package.find("zebre")


def test_names_are_known_before_anything_is_imported():
    """What is read off the sources is what registers itself."""
    from tnnquant import observers, weights

    assert declared_codes("tnnquant.observers", "observer") == observers.method_codes()
    assert declared_codes("tnnquant.weights", "weight_method") == weights.method_codes()
    assert declared_codes("tnnquant.nothing", "observer") is None


def test_a_second_thread_waits_for_the_names_to_come_in(package, tmp_path):
    (tmp_path / "things_of_a_test" / "nut.py").write_text(
        "import sys, threading\nfrom things_of_a_test.base import REGISTRY\n"
        "begun, go = threading.Event(), threading.Event()\n"
        "sys.modules['things_of_a_test'].events = begun, go\nbegun.set()\ngo.wait(10)\n"
        "REGISTRY.register('nut', 9)(int)\n"
    )
    import importlib

    importlib.invalidate_caches()
    errors = []

    def look_up():
        try:
            package.find("zebra")
        except ConfigError as error:
            errors.append(error)

    threads = [threading.Thread(target=look_up) for _ in range(2)]
    threads[0].start()
    sys_package = sys.modules["things_of_a_test"]
    while not hasattr(sys_package, "events"):
        pass
    begun, go = sys_package.events
    assert begun.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    go.set()
    for thread in threads:
        thread.join()
    assert not errors
