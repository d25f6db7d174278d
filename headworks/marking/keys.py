"""Certificates that sign content credentials: the user's, or local ones made on first use."""

from __future__ import annotations

import datetime
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headworks.errors import HeadworksError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CERTIFICATE = "HEADWORKS_C2PA_CERT"
KEY = "HEADWORKS_C2PA_KEY"
CHAIN_FILE, KEY_FILE, ROOT_FILE = "chain.pem", "leaf.key", "authority.pem"
_YEARS = 10
_ECDSA = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Identity:
    """Who signs.

    Attributes:
        chain: PEM, the signing certificate first. key: PEM (PKCS 8). algorithm: as C2PA names it.
        local: whether headworks made it itself, so that nobody else vouches for it.
    """

    chain: bytes
    key: bytes
    algorithm: str
    local: bool


def signing_identity(folder: Path) -> Identity:
    """The user's certificate and key by environment variables, else the local ones.

    Args:
        folder: of the local keys; made (0700, files 0600) when it is not there.

    Raises:
        HeadworksError: the user's files cannot be read or do not fit.
    """
    named = os.environ.get(CERTIFICATE), os.environ.get(KEY)
    if any(named):
        if not all(named):
            raise HeadworksError(f"set both {CERTIFICATE} and {KEY} to PEM files, or neither")
        return _read(Path(str(named[0])), Path(str(named[1])), local=False)
    if not (folder / KEY_FILE).is_file():
        make_local(folder)
    return _read(folder / CHAIN_FILE, folder / KEY_FILE, local=True)


def _read(certificate: Path, key: Path, local: bool) -> Identity:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
        secret = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise HeadworksError(
            f"{certificate}, {key}: expected a PEM certificate chain and its key without a "
            f"password ({error})"
        ) from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if chain[0].public_key().public_bytes(*form) != secret.public_key().public_bytes(*form):
        raise HeadworksError(f"{key}: is not the key of the first certificate in {certificate}")
    if isinstance(secret, ec.EllipticCurvePrivateKey) and secret.curve.name in _ECDSA:
        algorithm = _ECDSA[secret.curve.name]
    elif isinstance(secret, ed25519.Ed25519PrivateKey):
        algorithm = "ed25519"
    elif isinstance(secret, rsa.RSAPrivateKey):
        algorithm = "ps256"
    else:
        raise HeadworksError(f"{key}: C2PA signs with ECDSA (P-256 to P-521), Ed25519 or RSA-PSS")
    pem = b"".join(c.public_bytes(Encoding.PEM) for c in chain)
    told = secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(pem, told, algorithm, local)


def make_local(folder: Path) -> None:
    """Make a small certificate authority and a signing certificate (ECDSA P-256).

    The authority's own key is not kept: it signs this one certificate and no other.

    Source: C2PA technical specification, X.509 certificate profile (end-entity, no CA, key usage
    digitalSignature, extended key usage emailProtection, both key identifiers).
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    authority, leaf = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    root = _certificate(authority, authority, "headworks local authority", authority=True)
    signer = _certificate(leaf, authority, "headworks local signer", authority=False)
    fresh = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    fresh.mkdir(parents=True, mode=0o700)
    pem = [c.public_bytes(Encoding.PEM) for c in (signer, root)]
    secret = leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, data in ((CHAIN_FILE, b"".join(pem)), (ROOT_FILE, pem[1]), (KEY_FILE, secret)):
        handle = os.open(fresh / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    try:
        fresh.rename(folder)
    except OSError:  # somebody else made one meanwhile: theirs is as good
        for path in fresh.iterdir():
            path.unlink()
        fresh.rmdir()
        if not (folder / KEY_FILE).is_file():
            raise HeadworksError(
                f"{folder}: is there, but holds no {KEY_FILE}; remove it"
            ) from None


def _certificate(
    key: ec.EllipticCurvePrivateKey,
    issuer: ec.EllipticCurvePrivateKey,
    name: str,
    authority: bool,
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def called(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "headworks (local)"),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    now = datetime.datetime.now(datetime.UTC)
    kinds = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    usage = dict.fromkeys(kinds, False)
    usage |= {"key_cert_sign": True, "crl_sign": True} if authority else {"digital_signature": True}
    built = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called("headworks local authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(authority, 0 if authority else None), True)
        .add_extension(x509.KeyUsage(**usage), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False
        )
    )
    if not authority:
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        built = built.add_extension(purposes, False)
    return built.sign(issuer, hashes.SHA256())
