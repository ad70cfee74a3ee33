"""Says who a scenario's requests claim to be: names for routers, `cache_salt` and `priority` for engines.

Templates may hold {session}, {user} and {tenant}. A request's salt decides what it can share: engines hash it into the first block, so
prefixes under different salts have nothing in common.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.gateway import SESSION, TENANT, USER, Headers, checked_headers, filled
from locust_kvcache.contract.schema import Section

SECTION = "identity"
LONGEST_SALT = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")


@dataclass(frozen=True)
class Identity:
    tenant: str = ""
    users: int = 0  # end users that the sessions belong to, in turn; 0: each session is a user of its own
    headers: Headers = ()  # of every request; templates
    echo_headers: tuple[str, ...] = ()  # of a response, sent again with the later requests of its session
    cache_salt: str = ""  # a template; empty: none is sent
    priority: int | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Identity:
        """The inverse of dataclasses.asdict, after a trip through JSON or msgpack."""
        if not values:
            return cls()
        headers = tuple((name, text) for name, text in values["headers"])
        return cls(**{**values, "headers": headers, "echo_headers": tuple(values["echo_headers"])})

    def user_of(self, session: int) -> int:
        return session % self.users if self.users else session

    def names(self, nonce: str, session_id: int, session: int | None = None) -> dict[str, str]:
        """What stands for each placeholder: the run's nonce is in them, so that no router knows a session of another run. `session`: its
        number within its tenant, where that is another."""
        user = self.user_of(session_id if session is None else session)
        tenant = f"{self.tenant}-" if self.tenant else ""
        return {SESSION: f"{nonce}-{session_id}", USER: f"{nonce}-{tenant}user-{user}", TENANT: self.tenant}

    def body(self, names: Mapping[str, str]) -> dict[str, Any]:
        """The fields that a request's body gets."""
        salt = {"cache_salt": filled(self.cache_salt, names)} if self.cache_salt else {}
        return {**salt, **({} if self.priority is None else {"priority": self.priority})}

    def salt_group(self, session: int) -> int:
        """Sessions of one number have one salt, and can share a prefix."""
        if SESSION in self.cache_salt:
            return session
        return self.user_of(session) if USER in self.cache_salt else 0

    @property
    def salts_apart(self) -> bool:
        """Whether sessions of one tenant may have different salts."""
        return SESSION in self.cache_salt or USER in self.cache_salt


NOBODY = Identity()  # names, salts and ranks nothing


def checked_salt(text: Any, where: str) -> str:
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST_SALT:
        raise BadInput(f"{where} is {text!r}; expected a text such as '{{user}}', of {LONGEST_SALT} characters at most")
    return text


def checked_echo(names: Any, where: str) -> tuple[str, ...]:
    """Names of headers, in lower case as responses are read."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list):
        raise BadInput(f"{where} is {names!r}; expected names of response headers, such as [x-session-token]")
    return tuple(name.lower() for name, _ in checked_headers(((name, "${X}") for name in listed), where))


def checked_name(name: Any, where: str) -> str:
    """Of a tenant: it goes into headers and salts."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput(f"{where} is {name!r}; expected a name of letters, digits, _, - and .")
    return name


def _tenant(given: Section) -> str:
    name = given.raw("tenant")
    return "" if name is None else checked_name(name, given.name("tenant"))


def parse_identity(top: Section, tenant: str = "") -> Identity:
    """The scenario's `identity`; all of it is optional."""
    given = top.section(SECTION)
    headers, salt, echo = given.raw("headers"), given.raw("cache_salt"), given.raw("echo_headers")
    if headers is not None and not isinstance(headers, dict):
        raise BadInput(f"{given.name('headers')} is {headers!r}; expected a mapping, such as {{x-user-id: '{{user}}'}}")
    named = checked_headers((headers or {}).items(), given.name("headers"))
    if secret := [name for name, text in named if "${" in text]:
        raise BadInput(f"{given.name('headers')}: {secret[0]} reads the environment; such headers go into the deployment file")
    found = Identity(
        tenant=tenant or _tenant(given),
        users=given.take("users", int, 0, low=0),
        headers=named,
        echo_headers=checked_echo(echo, given.name("echo_headers")) if echo is not None else (),
        cache_salt=checked_salt(salt, given.name("cache_salt")) if salt is not None else "",
        priority=given.take("priority", int, None),
    )
    given.done()
    return found


def with_options(identity: Identity, cache_salt: str, echo_headers: tuple[str, ...]) -> Identity:
    """--cache-salt and --echo-header take the place of the scenario's."""
    return dataclasses.replace(
        identity, cache_salt=cache_salt or identity.cache_salt, echo_headers=echo_headers or identity.echo_headers
    )
