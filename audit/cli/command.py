"""click, with what this program promises: known errors are one line on standard error, and a status of 0, 1 or 2."""

import errno
import sys

import click

from lossprint.audit.types import LossprintError


class _Listed(click.Command):
    def get_short_help_str(self, limit: int = 45) -> str:
        return " ".join((self.help or "").split()).rstrip(".")  # in full: it is one sentence


class Command(_Listed):
    """A command whose options may take several values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if ctx.resilient_parsing else self._one_value_each(ctx, args))

    def _one_value_each(self, ctx: click.Context, words: list[str]) -> list[str]:
        """`--fractions 0.1 0.5` as `--fractions 0.1 --fractions 0.5`, which click can read. An option is no value."""
        options = {name: option for option in self.params if isinstance(option, click.Option) for name in option.opts}
        words, read = list(words), []
        while words and words[0] != "--":
            name = words.pop(0)
            option = options.get(name)
            read.append(name)
            if option is None or option.is_flag or not words:
                continue
            if words[0] in options:
                raise click.UsageError(f"argument {name}: expected a value, found {words[0]}", ctx)
            read.append(words.pop(0))
            while option.multiple and words and not words[0].startswith("-"):
                read += [name, words.pop(0)]
        return read + words


class Group(_Listed, click.Group):
    """Commands under one name, in the order in which they were added."""

    command_class = Command
    group_class = type

    def __init__(self, *args, **how):
        super().__init__(*args, **{"no_args_is_help": False} | how)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def usage_line(error: click.ClickException) -> str:
    """What is wrong with the use of a command, and where to look."""
    ctx, param = getattr(error, "ctx", None), getattr(error, "param", None)
    name = "/".join(param.opts) if isinstance(param, click.Option) else param and param.human_readable_name
    if isinstance(error, click.MissingParameter) and name:
        text = f"the following arguments are required: {name}"
    elif isinstance(error, click.BadParameter) and name:
        text = f"argument {name}: {error.message}"
    else:
        text = error.format_message()
        text = text[:1].lower() + text[1:]
    return f"{' '.join(text.split()).rstrip('.')} (see {ctx.command_path if ctx else 'lossprint'} --help)"


def status_of(error: BaseException) -> int:
    """Say in one line what went wrong; the exit status. What is no known error is raised again."""
    if isinstance(error, LossprintError):
        print(f"lossprint: {error}", file=sys.stderr)
        return 2
    if isinstance(error, KeyboardInterrupt):
        print("lossprint: stopped; what is recorded is kept", file=sys.stderr)
        return 1
    if isinstance(error, BrokenPipeError):
        return 1
    if isinstance(error, OSError):  # a place that cannot be read or written, a full disk
        print(f"lossprint: expected files that can be read and written, found: {error}", file=sys.stderr)
        return 1 if error.errno == errno.ENOSPC else 2
    raise error
