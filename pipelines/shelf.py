"""A place that all machines reach by URL (S3, GCS, a folder), where they share no disk.

Objects lie there as at a DVC remote, so that `dvc remote add shelf URL` and `headworks pull` find
them. Credentials come from each machine's own surroundings (AWS_*, ~/.aws, a role), never from a
run: nothing of the kind is sent, logged or written down.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headworks.errors import HeadworksError, TransientError


def check_url(url: str) -> str:
    """A URL of a storage, if it can be one.

    Raises:
        HeadworksError: it holds credentials, or is a relative path.
    """
    parts = urlsplit(url)
    # A secret with a slash ends what a parser takes for the host, so that "@" counts anywhere;
    # and what is asked for behind "?" is a signature or a token.
    if parts.scheme and ("@" in url or parts.query):
        raise HeadworksError(
            f"{parts.scheme}://...: leave credentials out of the URL; give them to each machine by "
            "its environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ...)"
        )
    if not parts.scheme and not os.path.isabs(url):
        raise HeadworksError(f"{url}: give a URL (s3://bucket/folder) or an absolute path")
    return url.rstrip("/")


def is_place(name: str) -> bool:
    """Whether a remote is named by its URL or path, and not by its name in DVC's configuration."""
    return "://" in name or os.path.isabs(name)


def odb_at(url: str) -> Any:
    """DVC's object store at a URL.

    Raises:
        HeadworksError: no such kind of place, or the package that speaks to it is not installed.
    """
    from dvc.exceptions import DvcException
    from dvc.fs import parse_external_url
    from dvc_data.hashfile.db import get_odb

    try:
        fs, path = parse_external_url(check_url(url))
    except DvcException as error:
        words = str(error).splitlines()[0]
        raise HeadworksError(f"{url}: {words} (for S3: pip install 'headworks[s3]')") from None
    return get_odb(fs, fs.join(path, "files", "md5"), hash_name="md5")


class Shelf:
    """Outputs at a URL.

    Args:
        url: of the place.
    """

    def __init__(self, url: str) -> None:
        self.url = check_url(url)
        self.odb = odb_at(url)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever a client library raises becomes an error that names the place."""
        try:
            yield
        except HeadworksError:
            raise
        except Exception as error:
            words = f"{type(error).__name__}: {error}".splitlines()[0]
            raise TransientError(f"{self.url}: {words}") from error

    def require(self) -> None:
        """Complain at once about a place that cannot be written.

        Raises:
            HeadworksError: with what it says.
        """
        fs, path = self.odb.fs, self.odb.path
        probe = fs.join(path, f".probe-{secrets.token_hex(8)}")
        try:
            fs.makedirs(path, exist_ok=True)
            with fs.open(probe, "wb") as handle:
                handle.write(b"headworks")
            fs.remove(probe)
        except Exception as error:
            words = f"{type(error).__name__}: {error}".splitlines()[0]
            raise HeadworksError(
                f"--storage {self.url}: cannot be written ({words}); look at the URL, the rights "
                "and AWS_ENDPOINT_URL"
            ) from None

    def put(self, objects: Path, oids: Iterable[str]) -> int:
        """Bring objects there that it lacks.

        Returns:
            How many went over.

        Raises:
            TransientError: some did not arrive.
        """
        from pipelines.remote import transfer_objects
        from pipelines.store import odb_of

        with self._told():
            return len(transfer_objects(odb_of(objects), self.odb, oids))

    def get(self, objects: Path, trees: Iterable[str]) -> None:
        """Bring outputs into a cache; every byte is looked at.

        Raises:
            TransientError: some are not there, or damaged.
        """
        from pipelines.remote import fetch_trees
        from pipelines.store import Objects

        wanted = set(trees)
        with self._told():
            fetch_trees(objects, self.odb, wanted)
            here = Objects(objects)
            lacking = sorted(oid for oid in wanted if not here.whole(oid))
            if lacking:
                raise TransientError(f"{self.url}: {lacking[0]} is not whole there")
