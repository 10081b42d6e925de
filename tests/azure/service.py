"""Azure's hosts on this machine: ARM, run history and token service, as far as the SDK asks.

It answers over https with a certificate of the tests' own. What it does wrong is planned by a test
(`Service.plan`); what it was asked is in `Service.requests`.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.azure.jobs import JobService
from tests.azure.storage import ACCOUNT, KEY
from tests.azure.tokens import TENANT, Tokens

SUBSCRIPTION = "33333333-3333-3333-3333-333333333333"
GROUP, WORKSPACE, COMPUTE = "research", "models", "cluster"
CONTAINER, STORE = "workspace-container", "workspaceblobstore"
API = "https://eastus.api.azureml.ms"
HOSTS = ("management.azure.com", "login.microsoftonline.com", "eastus.api.azureml.ms")
SCOPE = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    f"/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
)
Answer = tuple[int, Any]


@dataclass
class Plan:
    """What goes wrong.

    Attributes:
        method: Of the requests that it is for.
        path: A regular expression that is looked for in their paths.
        status: What they get; 0: the connection is closed without an answer.
        times: How many of them.
        lost: Whether they are carried out, and only the answer is lost.
        headers: More headers of the answer.
        code: The error's code.
    """

    method: str
    path: str
    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    code: str = "Planned"
    lost: bool = False


class Service(ThreadingHTTPServer):
    """The hosts.

    Args:
        folder: Has the certificates.
        jobs: Runs jobs.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, jobs: JobService) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self.port = self.server_address[1]
        self.tokens, self.jobs = Tokens(), jobs
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.plans: list[Plan] = []
        self.stores: dict[str, dict[str, Any]] = {STORE: datastore(STORE, default=True)}
        self.secrets: dict[str, dict[str, str]] = {}
        """By the names of datastores, what gives access in place of the account's key."""
        self.denied: list[str] = []
        """Regular expressions of ``METHOD path`` that the user's role does not allow."""
        self.computes: dict[str, dict[str, Any]] = {COMPUTE: compute(COMPUTE)}
        self.assets: dict[str, Any] = {}
        """What else GET answers, by the path below the workspace; the SDK and tests add to it."""
        self.elsewhere: dict[str, Any] = {}
        """What paths outside of the workspace answer: a registry's."""
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def plan(self, method: str, path: str, status: int, times: int = 1, **headers: str) -> Plan:
        """Have the next requests of a kind fail; ``Retry_After="1"`` is a header."""
        made = Plan(
            method, path, status, times, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        self.plans.append(made)
        return made

    def lose_answer(self, method: str, path: str) -> None:
        """Have the next request of a kind carried out, and close the connection then."""
        self.plans.append(Plan(method, path, 0, lost=True))

    def asked(self, method: str, path: str) -> int:
        """Return how many requests of a method have a path with a regular expression."""
        return sum(m == method and re.search(path, p) is not None for m, p in self.requests)

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(60.0)
        tls = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return tls, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client has gone

    def stop(self) -> None:
        """End it."""
        self.shutdown()
        self.server_close()

    def answer(
        self, method: str, path: str, query: str, body: bytes, token: str | None
    ) -> tuple[int, Any, dict[str, str]]:
        """Return the status, the JSON and more headers of an answer."""
        with self._lock:
            self.requests.append((method, path))
            self.bodies.append(body)
            planned = next(
                (p for p in self.plans if p.method == method and re.search(p.path, path)), None
            )
            if planned is not None:
                planned.times -= 1
                if planned.times == 0:
                    self.plans.remove(planned)
        if planned is not None and not planned.lost:
            return planned.status, error(planned.code, "this was planned"), planned.headers
        if path.startswith((f"/{TENANT}", "/common/")):
            return (*self.tokens.answer(method, path, body), {})
        if path == "/discovery":
            return 200, {"api": API, "history": API}, {}
        if not self.tokens.accepts(token):
            said = error("InvalidAuthenticationToken", "The access token is expired or invalid.")
            challenge = f'Bearer authorization_uri="https://login.microsoftonline.com/{TENANT}"'
            return 401, said, {"WWW-Authenticate": challenge}
        if any(re.search(each, f"{method} {path}") for each in self.denied):
            said = error("AuthorizationFailed", f"does not have authorization for {method}")
            return 403, said, {}
        status, said = self._resource(method, path, query, body)
        return 0 if planned is not None else status, said, {}

    def _resource(self, method: str, path: str, query: str, body: bytes) -> Answer:
        if path.startswith("/history/v1.0"):
            found = re.search(r"/runs/([^/]+)/details$", path)
            return (404, {}) if found is None else self.jobs.details(found[1])
        low, scope = path.lower(), SCOPE.lower()
        if path in self.elsewhere and method in ("GET", "POST"):
            return 200, self.elsewhere[path]
        if not low.startswith(scope):
            return 404, error("ResourceNotFound", f"The Resource '{path}' was not found.")
        rest = path[len(SCOPE) :].strip("/")
        for pattern, handle in self._routes:
            found = re.fullmatch(pattern, rest)
            if found is not None:
                said = json.loads(body) if body else {}
                answer = handle(self, method, found, said, query)
                if answer is not None:
                    return answer
        if method == "GET" and rest in self.assets:
            return 200, self.assets[rest]
        return 404, error("ResourceNotFound", f"The Resource '{rest}' was not found.")

    def _workspace(self, method: str, found: re.Match[str], said: Any, query: str) -> Answer:
        properties = {
            "friendlyName": WORKSPACE,
            "discoveryUrl": f"{API}/discovery",
            "workspaceId": TENANT,
            "provisioningState": "Succeeded",
        }
        return 200, {
            "id": SCOPE,
            "name": WORKSPACE,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": "eastus",
            "kind": "Default",
            "properties": properties,
        }

    def _compute(self, method: str, found: re.Match[str], said: Any, query: str) -> Answer | None:
        known = self.computes.get(found[1])
        return None if known is None else (200, known)

    def _datastores(self, method: str, found: re.Match[str], said: Any, query: str) -> Answer:
        wanted = urllib.parse.parse_qs(query).get("isDefault") == ["true"]
        return 200, {
            "value": [
                store
                for store in self.stores.values()
                if not wanted or store["properties"]["isDefault"]
            ]
        }

    def _datastore(self, method: str, found: re.Match[str], said: Any, query: str) -> Answer | None:
        known = self.stores.get(found[1])
        if known is None:
            return None
        if found[2]:
            return 200, self.secrets.get(found[1]) or {"secretsType": "AccountKey", "key": KEY}
        return 200, known

    def _environment(
        self, method: str, found: re.Match[str], said: Any, query: str
    ) -> Answer | None:
        name = found[0]
        if method != "PUT":
            return None
        made = {"id": f"{SCOPE}/{name}", "name": found[2], "type": "environments/versions", **said}
        self.assets[name] = made
        return 201, made

    def _job(self, method: str, found: re.Match[str], said: Any, query: str) -> Answer | None:
        name = found[1]
        if found[2]:
            return self.jobs.cancel(name)
        if method == "PUT":
            environment = said["properties"].get("environmentId", "")
            rest = environment[len(SCOPE) :].strip("/")
            return self.jobs.submit(name, said, self.assets.get(rest), f"{SCOPE}/jobs/{name}")
        return self.jobs.get(name)

    _routes: tuple[tuple[str, Callable[..., Answer | None]], ...] = (
        ("", _workspace),
        ("computes/([^/]+)", _compute),
        ("datastores", _datastores),
        ("datastores/([^/]+)(/listSecrets)?", _datastore),
        ("environments/([^/]+)/versions/([^/]+)", _environment),
        ("jobs/([^/]+)(/cancel)?", _job),
    )


def error(code: str, message: str) -> dict[str, Any]:
    """Return an error as ARM writes it."""
    return {"error": {"code": code, "message": message}}


def datastore(name: str, *, default: bool = False, keys: bool = True) -> dict[str, Any]:
    """Return a datastore of blob storage; without keys, users' own credentials are used."""
    return {
        "id": f"{SCOPE}/datastores/{name}",
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/datastores",
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": ACCOUNT,
            "containerName": CONTAINER,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "isDefault": default,
            "credentials": {"credentialsType": "AccountKey" if keys else "None"},
        },
    }


def compute(name: str, state: str = "Succeeded") -> dict[str, Any]:
    """Return a compute cluster."""
    return {
        "id": f"{SCOPE}/computes/{name}",
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/computes",
        "location": "eastus",
        "properties": {
            "computeType": "AmlCompute",
            "provisioningState": state,
            "properties": {"vmSize": "STANDARD_D2", "scaleSettings": {"maxNodeCount": 1}},
        },
    }


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path, _, query = self.path.partition("?")
        status, said, more = self.server.answer(
            self.command, path, query, body, self.headers.get("Authorization")
        )
        if status == 0:
            self.close_connection = True
            return
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for key, value in more.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass
