"""Every error this project raises on purpose.

    DebertaError
    ├── ConfigError       config.json or a component's settings: key, value found, values accepted
    ├── CheckpointError   a model folder: file, tensor, shape found and expected
    │   └── HeadMissingError  the head that a task needs is not there; says what can be done
    ├── TokenizerError    a tokenizer file or text that cannot be tokenized
    ├── AlignmentError    windows, strides and character offsets that do not fit together
    ├── DataError         training data: file, line, found, expected; tensors given to a model
    ├── InputError        one input of a task pipeline: which one, what was found and expected
    ├── OptionError       an option of a task pipeline: name, value, what is accepted
    ├── PathError         an attention path asked for by name that cannot run here
    └── PipelineError     components that cannot work together (listeners, upstream names)

The text of an error names the place, what was found, what was expected and what to do.
"""

from collections.abc import Sequence


class DebertaError(ValueError):
    """Base of every error raised on purpose by this project."""


class ConfigError(DebertaError):
    """A setting has a value that cannot work."""


class CheckpointError(DebertaError):
    """A model folder is missing, incomplete, damaged or does not fit its config."""


class HeadMissingError(CheckpointError):
    """A model has no trained head for the task that is asked of it."""


class InputError(DebertaError, ValueError):
    """A task pipeline cannot work on an input.

    Attributes:
        partial: results of the inputs before it, where a list was given.
    """

    partial: Sequence[object] = ()


class OptionError(DebertaError, TypeError):
    """An option of a task pipeline is unknown, or has a value that cannot work."""


class TokenizerError(DebertaError):
    """A tokenizer file is missing or damaged, or a text cannot be tokenized."""


class AlignmentError(DebertaError):
    """Windows, strides or character offsets do not fit together."""


class DataError(DebertaError):
    """A data file has a line that cannot be read, or a model an argument that does not fit."""


class PathError(DebertaError):
    """An attention path was asked for by name and cannot run here."""


class PipelineError(DebertaError):
    """Components of a pipeline do not fit together."""
