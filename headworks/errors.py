"""Errors that a user can act on."""

from __future__ import annotations


class HeadworksError(Exception):
    """Something the user gave is wrong: the message says what, where, and what to do about it."""


class CaptureError(HeadworksError):
    """A capture (photo, clip, folder) cannot be used."""


class ArtifactError(HeadworksError):
    """An artifact folder is incomplete, damaged or of another kind than expected."""


class ParamsError(HeadworksError):
    """`params.yaml` has an unknown key or a value out of range."""


class WeightsError(HeadworksError):
    """Network weights that a backend needs are absent or not what they should be."""


class TransientError(HeadworksError):
    """A failure that may pass when tried again (I/O, a lost worker)."""


class ChangedError(TransientError):
    """What a unit reads (code, weights, captures) was edited while it ran: plan again, then run."""
