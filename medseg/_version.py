"""The version, in one place: the wheel, the records and the command line take it from here."""

__version__ = "0.1.0"
