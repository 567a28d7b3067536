"""Who may call, and what protects the ports."""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from .values import Block, no_boolean


class JwtSettings(Block):
    """JSON web tokens as bearer tokens; set together with a key set."""

    issuer: str = Field(description="Whose tokens are taken: their `iss`.")
    audience: str = Field(description="Whom the tokens must be for: their `aud`.")
    jwks: str = Field(description="The issuer's key set: a file, or an http(s) URL.")
    algorithms: tuple[str, ...] = Field(
        default=("RS256", "ES256"),
        description="Signature algorithms that are taken; asymmetric ones only.",
    )
    leeway_seconds: Annotated[float, BeforeValidator(no_boolean), Field(ge=0, le=600)] = Field(
        default=30, description="How far the issuer's clock may be off."
    )
    roles_claim: str = Field(default="roles", description="The claim that lists a caller's roles.")
    models_claim: str = Field(
        default="models",
        description="The claim that lists the models a caller may use; absent is all.",
    )

    @model_validator(mode="after")
    def _asymmetric(self) -> "JwtSettings":
        allowed = {f"{kind}{bits}" for kind in ("RS", "PS", "ES") for bits in (256, 384, 512)}
        for algorithm in self.algorithms:
            if algorithm not in {*allowed, "EdDSA"}:
                raise ValueError(f"algorithm '{algorithm}' is not an asymmetric signature")
        return self


class AuthSettings(Block):
    """Who may call. Without keys and tokens, everybody who reaches the port."""

    keys_file: str | None = Field(
        default=None,
        description="File of API keys, made by `mlserver-streaming keys`.",
    )
    protect_metrics: bool = Field(default=False, description="Whether the metrics need a key too.")
    jwt: JwtSettings | None = Field(default=None, description="JSON web tokens; null takes none.")

    @model_validator(mode="after")
    def _protectable(self) -> "AuthSettings":
        if self.protect_metrics and self.keys_file is None and self.jwt is None:
            raise ValueError("protect_metrics needs keys_file or jwt")
        return self


class TlsSettings(Block):
    """TLS on all ports: REST, gRPC, Triton's dialect, metrics. New files are picked up."""

    certificate: str | None = Field(default=None, description="Certificate chain, a PEM file.")
    key: str | None = Field(default=None, description="The certificate's private key, a PEM file.")
    client_ca: str | None = Field(
        default=None, description="CA of the clients' certificates, a PEM file; set, they need one."
    )

    @model_validator(mode="after")
    def _whole(self) -> "TlsSettings":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs a certificate and a key")
        return self
