"""Exit status 0 when the service on this machine is ready: `python -m mlserver_streaming.ready`.

A container's health check, run in the folder that is served: it finds the port and TLS where the
service does. The certificate is not checked: it is for the hosts that clients know. Where clients
need one of their own, CLIENT_CERT and CLIENT_KEY name the files.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.request

from .settings import StreamingSettings, TlsSettings, settings_file

PORT = 8080  # MLServer's own
TIMEOUT = 2.0


def main() -> str | None:
    """What is wrong, None when the service is ready."""
    tls = StreamingSettings.read(".").tls
    scheme = "http" if tls.certificate is None else "https"
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if tls.certificate is not None:
        handlers.append(urllib.request.HTTPSHandler(context=_context(tls)))
    url = f"{scheme}://127.0.0.1:{_port()}/v2/health/ready"
    try:
        urllib.request.build_opener(*handlers).open(url, timeout=TIMEOUT).close()
    except OSError as error:
        return f"{url}: {error}"
    return None


def _context(tls: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate = os.environ.get("CLIENT_CERT")
    if tls.client_ca is not None and certificate is not None:
        context.load_cert_chain(certificate, os.environ.get("CLIENT_KEY"))
    return context


def _port() -> int:
    """MLServer's http_port; the file wins over the environment there."""
    return int(settings_file(".").get("http_port") or os.environ.get("MLSERVER_HTTP_PORT") or PORT)


if __name__ == "__main__":
    sys.exit(main())
