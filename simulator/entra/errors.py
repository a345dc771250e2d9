"""Entra's error responses: the AADSTS codes of this authority, with Entra's own texts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from simulator.state.faults import Fault


@dataclass(frozen=True, slots=True)
class Problem:
    """One AADSTS code with its OAuth error, HTTP status, and text; `{0}` and `{1}` are placeholders."""

    code: int
    error: str
    status: int
    text: str


TENANT = Problem(
    90002,
    "invalid_request",
    400,
    "Tenant '{0}' not found. Check to make sure you have the correct tenant ID and are signing "
    "into the correct cloud. Check with your subscription administrator, this may happen if there "
    "are no active subscriptions for the tenant.",
)
APPLICATION = Problem(
    700016,
    "unauthorized_client",
    400,
    "Application with identifier '{0}' was not found in the directory '{1}'. This can happen if "
    "the application has not been installed by the administrator of the tenant or consented to by "
    "any user in the tenant. You may have sent your authentication request to the wrong tenant.",
)
SECRET = Problem(
    7000215,
    "invalid_client",
    401,
    "Invalid client secret provided. Ensure the secret being sent in the request is the client "
    "secret value, not the client secret ID, for a secret added to app '{0}'.",
)
NO_CREDENTIAL = Problem(
    7000218,
    "invalid_client",
    401,
    "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
)
ASSERTION = Problem(
    700027,
    "invalid_client",
    401,
    "The certificate with identifier used to sign the client assertion is not registered on "
    "application. [Reason - {0}]",
)
GRANT_TYPE = Problem(
    70003, "unsupported_grant_type", 400, "The app requested an unsupported grant type '{0}'."
)
MISSING = Problem(
    900144, "invalid_request", 400, "The request body must contain the following parameter: '{0}'."
)
APP_SCOPE = Problem(
    1002012,
    "invalid_scope",
    400,
    "The provided value for scope {0} is not valid. Client credential flows must have a scope "
    "value with /.default suffixed to the resource identifier (application ID URI).",
)
RESOURCE = Problem(
    500011,
    "invalid_resource",
    400,
    "The resource principal named {0} was not found in the tenant named {1}.",
)
SCOPE = Problem(
    70011,
    "invalid_scope",
    400,
    "The provided value for the input parameter 'scope' is not valid. The scope '{0}' is not "
    "configured for this resource.",
)
REDIRECT = Problem(
    50011,
    "invalid_request",
    400,
    "The redirect URI '{0}' specified in the request does not match the redirect URIs configured "
    "for the application '{1}'.",
)
CODE_USED = Problem(
    54005,
    "invalid_grant",
    400,
    "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an "
    "existing refresh token.",
)
CODE_UNKNOWN = Problem(9002313, "invalid_grant", 400, "Invalid request. Request is malformed or invalid.")
CODE_EXPIRED = Problem(
    70008, "invalid_grant", 400, "The provided authorization code or refresh token has expired."
)
CODE_REDIRECT = Problem(
    500112,
    "invalid_grant",
    400,
    "The reply address '{0}' does not match the reply address provided when requesting Authorization code.",
)
VERIFIER = Problem(
    501481,
    "invalid_grant",
    400,
    "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
)
PKCE_NEEDED = Problem(
    9002325,
    "invalid_request",
    400,
    "Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
)
NOT_SPA = Problem(
    9002326,
    "invalid_request",
    400,
    "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type. "
    "Request origin: '{0}'.",
)
SPA_ONLY = Problem(
    9002327,
    "invalid_request",
    400,
    "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via "
    "cross-origin requests.",
)
LOGIN_REQUIRED = Problem(
    50058, "login_required", 400, "A silent sign-in request was sent but no user is signed in."
)
NO_USER = Problem(
    50034,
    "login_required",
    400,
    "The user account {0} does not exist in the {1} directory. To sign into this application, the "
    "account must be added to the directory.",
)
RESPONSE_TYPE = Problem(
    700054, "unsupported_response_type", 400, "response_type '{0}' is not enabled for the application."
)
CONDITIONAL_ACCESS = Problem(
    53003,
    "invalid_grant",
    400,
    "Access has been blocked due to Conditional Access policies. The access policy does not allow "
    "token issuance.",
)
CLAIMS = Problem(
    50201, "invalid_request", 400, "The value of the parameter 'claims' is not valid JSON of claims."
)
THROTTLED = Problem(90055, "temporarily_unavailable", 429, "The server has received too many requests.")
DOWN = Problem(90033, "temporarily_unavailable", 503, "A transient error has occurred. Please try again.")


def injected(fault: Fault) -> Problem:
    """The problem of an injected fault; its code may be that of a problem, `AADSTS50196`."""
    usual = THROTTLED if fault.status == 429 else DOWN
    digits = (fault.code or "").removeprefix("AADSTS")
    code = int(digits) if digits.isdecimal() else usual.code
    text = (fault.message or usual.text).replace("{", "{{").replace("}", "}}")
    return Problem(code, usual.error, fault.status, text)


class AuthorityError(Exception):
    """The authority rejects the request; `problem` is the response."""

    def __init__(self, problem: Problem, *details: str) -> None:
        self.problem = problem
        self.text = f"AADSTS{problem.code}: {problem.text.format(*details)}"
        super().__init__(self.text)

    def body(self, now: datetime, base_url: str, correlation: str | None = None) -> dict[str, Any]:
        """The JSON of the error at the token endpoint."""
        trace, correlated = str(uuid4()), correlation or str(uuid4())
        timestamp = f"{now:%Y-%m-%d %H:%M:%SZ}"
        description = f"{self.text} Trace ID: {trace} Correlation ID: {correlated} Timestamp: {timestamp}"
        return {
            "error": self.problem.error,
            "error_description": description,
            "error_codes": [self.problem.code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlated,
            "error_uri": f"{base_url}/error?code={self.problem.code}",
        }
