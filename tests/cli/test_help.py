"""What ``--help`` of every command shows."""

import re

import click
import pytest

from tnnquant.cli import COMMANDS, group
from tnnquant.cli.helped import GROUPS


def commands():
    """Every command by its words."""
    context = click.Context(group)
    for name in COMMANDS:
        entry = group.get_command(context, name)
        if isinstance(entry, click.Group):
            inner = click.Context(entry)
            yield from ((f"{name} {sub}", entry.get_command(inner, sub)) for sub in entry.list_commands(inner))
        else:
            yield name, entry


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_groups_examples_and_width(name, command):
    context = click.Context(command, info_name=f"tnnquant {name}", terminal_width=80)
    text = command.get_help(context)
    before, examples = text.split("\nExamples:\n")
    assert max(map(len, before.splitlines())) <= 80
    lines = [line for line in examples.splitlines() if line.startswith(f"  tnnquant {name}")]
    assert len(lines) >= 2
    # An example is a command that exists: its options are known.
    known = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    for line in lines:
        assert set(re.findall(r"(?<=\s)--?[a-z][\w-]*", line)) <= known, line
    if len(command.params) > 12:
        assert len([title for title in GROUPS if f"\n{title}:\n" in text]) >= 3


def test_an_option_has_one_place():
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
