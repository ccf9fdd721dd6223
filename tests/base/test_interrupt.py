"""Ctrl-C where Python cannot raise it."""

import subprocess
import sys
import textwrap

import pytest

LOST = """
    import ctypes, os, signal, sys
    from tnnquant.base import interrupt

    interrupt.remember()
    # Called from C, as by LLVM while it compiles: an exception raised in here reaches nobody.
    ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))()
    print("went on")
    try:
        interrupt.check()
    except KeyboardInterrupt:
        print("remembered")
    interrupt.check()
    print("once")
"""


def python(code: str):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)


def test_a_lost_signal_is_raised_again_and_once():
    done = python(LOST)
    assert done.stdout.splitlines() == ["went on", "remembered", "once"]
    assert done.stderr == ""


def test_a_handler_of_the_program_is_kept():
    done = python(
        """
        import signal
        from tnnquant.base import interrupt
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupt.remember()
        print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
        """
    )
    assert done.stdout == "True\n"


@pytest.mark.parametrize("place", ["tnnquant.quantization.calibrate.calibrate", "tnnquant.format.files._write_through"])
def test_a_run_ends_with_code_130_and_writes_nothing(place, inspected_files, pictures, tmp_path):
    module, _, name = place.rpartition(".")
    done = python(
        f"""
        import ctypes, importlib, os, signal
        from tnnquant.cli import main
        module = importlib.import_module({module!r})
        original = getattr(module, {name!r})

        def interrupted(*args, **options):
            ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))()
            return original(*args, **options)

        module.{name} = interrupted
        if {name!r} == "calibrate":
            import tnnquant.quantization.quantize as users
            users.calibrate = interrupted
        main(["quantize", "-p", {inspected_files + ".tnnproto"!r}, "-m", {inspected_files + ".tnnmodel"!r},
              "-i", {str(pictures)!r}, "-n", "127.5", "-s", "1/127.5", "-o", {str(tmp_path / "out")!r}])
        """
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "error: interrupted; no file is half-written")
    assert not list(tmp_path.glob("out*"))
