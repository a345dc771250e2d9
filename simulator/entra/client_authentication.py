"""Authentication of applications at the token endpoint: by a secret or by a certificate."""

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from hashlib import sha1
from hmac import compare_digest
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from simulator.state.tenants import App

from . import errors
from .errors import AuthorityError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def authenticate(app: App, form: Mapping[str, str], endpoint: str) -> None:
    """Check the credential of an application in a token request.

    Raises:
        AuthorityError: the request has no valid secret and no assertion that a registered certificate signed.
    """
    secret, assertion = form.get("client_secret"), form.get("client_assertion")
    if secret is not None:
        if not any(compare_digest(secret.encode(), s.encode()) for s in app.secrets):
            raise AuthorityError(errors.SECRET, app.client_id)
    elif assertion is not None and form.get("client_assertion_type") == ASSERTION_TYPE:
        _check_assertion(app, assertion, endpoint)
    else:
        raise AuthorityError(errors.NO_CREDENTIAL)


def _check_assertion(app: App, assertion: str, endpoint: str) -> None:
    """Check a client assertion.

    msal signs with PS256 and a padded `x5t#S256`, or with RS256 and `x5t`; its dates are floats.
    """
    try:
        header = jwt.get_unverified_header(assertion)
        for pem in app.certificates:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            if not _header_names(header, certificate):
                continue
            public = certificate.public_key()
            if not isinstance(public, RSAPublicKey):
                raise AuthorityError(errors.ASSERTION, "The key is no RSA key.")
            claims = jwt.decode(
                assertion,
                public,
                algorithms=["PS256", "RS256"],
                audience=endpoint,
                issuer=app.client_id,
                leeway=300,
                options={"require": ["exp", "aud", "iss", "sub"]},
            )
            if claims["sub"] != app.client_id:
                raise AuthorityError(errors.ASSERTION, "The subject is not the client.")
            return
    except (jwt.PyJWTError, ValueError) as error:
        raise AuthorityError(errors.ASSERTION, str(error)) from error
    raise AuthorityError(errors.ASSERTION, "The key was not found.")


def _header_names(header: Mapping[str, Any], certificate: x509.Certificate) -> bool:
    """Whether the thumbprint in the header is the one of the certificate."""
    der_sha256 = certificate.fingerprint(hashes.SHA256())
    der_sha1 = sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).digest()
    return der_sha256 == _decode(header.get("x5t#S256")) or der_sha1 == _decode(header.get("x5t"))


def _decode(thumbprint: object) -> bytes:
    value = str(thumbprint or "").rstrip("=")
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))
