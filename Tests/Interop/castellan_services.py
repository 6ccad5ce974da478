"""castellan as the OpenStack services use it: their configuration, and the contexts they hand to it.

Three ways lead to a Key Manager:
- Glance's context knows no more than the token of the request: castellan asks Identity for another one of the
  same scope, and takes the endpoint from that one's catalogue.
- Nova's and Cinder's contexts bring the request's own token and the catalogue that came with it; with
  `send_service_user_token` the service's own token goes along.
- Services without a request at hand sign in with a password.
"""

from __future__ import annotations

from pathlib import Path

import requests
from castellan import key_manager
from castellan.common.credentials.keystone_password import KeystonePassword
from castellan.key_manager.barbican_key_manager import BarbicanKeyManager
from keystoneauth1 import access, plugin
from oslo_config import cfg
from oslo_context.context import RequestContext

from clouds import Cloud

CONFIGURATION = """
[key_manager]
backend = barbican
[barbican]
auth_endpoint = {auth_url}
barbican_endpoint_type = public
barbican_region_name = {region}
barbican_api_version = v1
"""

SERVICE_USER = """
send_service_user_token = true
[barbican_service_user]
auth_type = password
auth_url = {auth_url}
username = {username}
password = {password}
user_domain_id = default
project_id = {project_id}
"""


def auth_url(cloud: Cloud) -> str:
    """Identity's, with the version."""
    return cloud.entry["auth"]["auth_url"].rstrip("/").removesuffix("/v3") + "/v3"


def configuration_file(path: Path, cloud: Cloud, service_user: Cloud | None = None) -> Path:
    """What an operator writes into nova.conf, cinder.conf or glance-api.conf."""
    text = CONFIGURATION.format(auth_url=auth_url(cloud), region=cloud.entry["region_name"])
    if service_user:
        auth = service_user.entry["auth"]
        text += SERVICE_USER.format(auth_url=auth_url(cloud), username=auth["username"], password=auth["password"],
                                    project_id=auth["project_id"])
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def manager(file: Path) -> BarbicanKeyManager:
    """A service's key manager, from its configuration file."""
    configuration = cfg.ConfigOpts()
    configuration(["--config-file", str(file)], project="interop")
    return key_manager.API(configuration)


def glance_context(cloud: Cloud) -> RequestContext:
    return RequestContext(auth_token=cloud.sdk.auth_token, user_id=cloud.user_id, project_id=cloud.project_id)


class NovaAuth(plugin.BaseAuthPlugin):
    """nova.context._ContextAuthPlugin, cinder.context._ContextAuthPlugin."""

    def __init__(self, token: str, catalog: list[dict]):
        super().__init__()
        self.auth_token = token
        self.service_catalog = access.service_catalog.ServiceCatalogV2(catalog)

    def get_token(self, *_, **__) -> str:
        return self.auth_token

    def get_endpoint(self, session, service_type=None, interface=None, region_name=None, service_name=None, **_):
        return self.service_catalog.url_for(service_type=service_type, service_name=service_name,
                                            interface=interface, region_name=region_name)


class NovaContext(RequestContext):
    """A request's context, with the catalogue as keystonemiddleware hands it on."""

    def __init__(self, cloud: Cloud):
        super().__init__(auth_token=cloud.sdk.auth_token, user_id=cloud.user_id, project_id=cloud.project_id)
        self.catalog = version_2(catalog(cloud))

    def get_auth_plugin(self) -> NovaAuth:
        return NovaAuth(self.auth_token, self.catalog)


def catalog(cloud: Cloud) -> list[dict]:
    """What validating the token tells of the catalogue."""
    token = cloud.sdk.auth_token
    answer = requests.get(auth_url(cloud) + "/auth/tokens", timeout=30,
                          headers={"X-Auth-Token": token, "X-Subject-Token": token})
    answer.raise_for_status()
    return answer.json()["token"]["catalog"]


def version_2(services: list[dict]) -> list[dict]:
    """keystonemiddleware.auth_token._request._v3_to_v2_catalog."""
    old = []
    for service in services:
        regions: dict[str, dict] = {}
        for endpoint in service["endpoints"]:
            urls = regions.setdefault(endpoint["region"], {"region": endpoint["region"]})
            urls[endpoint["interface"].lower() + "URL"] = endpoint["url"]
        old.append({"type": service["type"], "name": service["name"], "endpoints": list(regions.values())})
    return old


def password_credentials(cloud: Cloud) -> KeystonePassword:
    auth = cloud.entry["auth"]
    return KeystonePassword(auth_url=auth_url(cloud), username=auth["username"], password=auth["password"],
                            user_domain_id="default", project_id=cloud.project_id)
