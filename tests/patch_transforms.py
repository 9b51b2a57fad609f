"""Transforms of patches as a person has them in a module, for tests of the loader."""

import os
import signal
import sys


def as_it_is(patch):
    return patch


def killed(patch):
    os.kill(os.getpid(), signal.SIGKILL)
    return patch


def crashed(patch):
    os.kill(os.getpid(), signal.SIGSEGV)
    return patch


def left(patch):
    os._exit(3)


def failing(patch):
    raise ValueError("no patch is good enough")


def printing(patch):
    sys.stdout.write("a line on standard output\n")
    return patch
