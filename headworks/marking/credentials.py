"""C2PA content credentials: a signed manifest in a picture or video says how it was made."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headworks.errors import HeadworksError
from headworks.marking.keys import Identity

TYPES = {".mp4": "video/mp4", ".png": "image/png"}
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
LINEAGE = "org.headworks.lineage"


@dataclass(frozen=True)
class Credentials:
    """What a file's manifest says.

    Attributes:
        state: "Valid" (signature and hashes hold), "Trusted" (signed by a known authority, too) or
            "Invalid". generator: software, with its version. source_type: of the first action.
        lineage: the avatar's digest and what drove it. issuer: the certificate's organisation.
        problems: codes of failed checks, without that of a signer whom nobody vouches for.
    """

    state: str
    generator: str
    source_type: str
    lineage: dict[str, str]
    issuer: str
    problems: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether the signature and all hashes hold."""
        return self.state in ("Valid", "Trusted") and not self.problems


def available() -> bool:
    """Whether the c2pa library is installed."""
    return importlib.util.find_spec("c2pa") is not None


def manifest(title: str, version: str, lineage: Mapping[str, str]) -> dict[str, object]:
    """The manifest's definition: created by a trained algorithm, by which software, of what.

    Args:
        title: the file's name. version: of headworks. lineage: digest, key, stage, driver, ...

    Source: C2PA technical specification, actions assertion and digital source types.
    """
    agent = {"name": "headworks", "version": version}
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": agent,
    }
    return {
        "claim_generator_info": [agent],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": LINEAGE, "data": dict(lineage)},
        ],
    }


def sign(path: Path, definition: Mapping[str, object], identity: Identity) -> None:
    """Write a signed manifest into an MP4 or PNG file, in place, and read it back.

    Raises:
        HeadworksError: c2pa is missing, the file's format has no room, or the certificate does
            not fit C2PA's profile.
    """
    import c2pa

    kind = TYPES.get(path.suffix.lower())
    if kind is None:
        raise HeadworksError(f"{path}: credentials go into {', '.join(TYPES)}")
    fresh = path.with_name(f".signed.{path.name}")
    info = c2pa.C2paSignerInfo(identity.algorithm.encode(), identity.chain, identity.key, None)
    try:
        with (
            c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}) as settings,
            c2pa.Context(settings=settings) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(json.dumps(definition), context=context) as builder,
            open(path, "rb") as source,
            open(fresh, "w+b") as target,
        ):
            builder.sign(signer, kind, source, target)
        found = read(fresh, kind)
        if found is None or not found.whole:
            problems = ", ".join(found.problems) if found else "no manifest"
            raise HeadworksError(f"{path}: what was signed does not verify ({problems})")
        fresh.replace(path)
    except c2pa.C2paError as error:
        raise HeadworksError(
            f"{path}: could not be signed ({error}); --no-mark goes without"
        ) from (error)
    finally:
        fresh.unlink(missing_ok=True)


def read(path: Path, kind: str | None = None) -> Credentials | None:
    """The credentials of a file, checked; None where it has none.

    Raises:
        HeadworksError: the file cannot be read.
    """
    import c2pa

    kind = kind or TYPES.get(path.suffix.lower())
    if kind is None:
        return None
    try:
        with open(path, "rb") as source, c2pa.Reader(kind, source) as reader:
            store = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, OSError, ValueError) as error:
        raise HeadworksError(f"{path}: its credentials cannot be read ({error})") from None
    active = store["manifests"][store["active_manifest"]]
    assertions = {a["label"]: a["data"] for a in active.get("assertions", ())}
    actions: dict[str, Any] = next(
        (d for n, d in assertions.items() if n.startswith("c2pa.actions")), {}
    )
    first: dict[str, Any] = next(iter(actions.get("actions", ())), {})
    agent: dict[str, Any] = next(iter(active.get("claim_generator_info", ())), {})
    failures = (
        entry["code"]
        for entry in store.get("validation_status", ())
        if entry.get("code") != "signingCredential.untrusted"
    )
    return Credentials(
        str(store.get("validation_state", "")),
        f"{agent.get('name', '')} {agent.get('version', '')}".strip(),
        str(first.get("digitalSourceType", "")),
        {str(k): str(v) for k, v in assertions.get(LINEAGE, {}).items()},
        str(active.get("signature_info", {}).get("issuer", "")),
        tuple(failures),
    )
