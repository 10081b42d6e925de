"""Commands over ssh: the system's OpenSSH client, with the user's own configuration.

Nothing is asked at the terminal (``BatchMode``): keys, host keys, jumps and ports are the business
of ``~/.ssh/config``. Whatever it says, nothing is forwarded there, no command of the configuration
runs, and no variable of this process is sent but those of `_MAY_BE_SENT`. The agent's connection
is the master of all others (``ControlPath`` in a private folder), so that sending files does not
log in again; it ends with that connection.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from paretune.core.errors import TargetRefusesError, UsageError
from paretune.targets.transports.bounded import Ended, TooMuchError, run_bounded
from paretune.targets.transports.host import CommandError

_FAILED = 255
"""Status of ssh itself; all others are the command's."""
_OPTIONS = (
    "BatchMode=yes",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",  # one in the configuration would be refused beside ours
    "ControlPersist=no",  # the connection ends with its command
    "LogLevel=INFO",  # why it does not connect is read from what it writes
)
"""They win over the configuration. Not among them is StrictHostKeyChecking: with BatchMode, an
unknown key is refused unless the user allows it on purpose (``accept-new``, ``no``)."""
_IF_KNOWN = {
    "stdinnull": "StdinNull=no",
    "sessiontype": "SessionType=default",
    "forkafterauthentication": "ForkAfterAuthentication=no",
    "channeltimeout": "ChannelTimeout=none",  # a job may be silent for long
}
"""Likewise; options that not every OpenSSH knows, by their name in what `ssh -G` shows."""
_MAY_BE_SENT = (
    *("LANG", "LC_*"),  # `SendEnv` in Debian's own configuration
    # What ssh itself, or a program that it starts here, cannot do without.
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "DISPLAY", "XAUTHORITY"),
    *("SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "KRB5CCNAME", "XDG_RUNTIME_DIR"),
)
_LONGEST_SOCKET = 80
"""Bytes of the control socket's path; the system takes about 100, and ssh appends a suffix."""
_AWAY = (
    (
        r"could not resolve hostname|name or service not known",
        "ssh does not find the host",
        "Is it in ~/.ssh/config? The command `ssh {host}` must work.",
    ),
    (
        "",
        "it cannot be reached",
        "Is it switched on, and is an sshd running there? Try `ssh {host}`.",
    ),
)
_REFUSALS = (
    (
        r"host key verification failed|identification has changed",
        "its host key is unknown, or another one than before",
        "Connect once by hand, `ssh {host}`, and compare the key.",
    ),
    (
        r"permission denied|too many authentication failures|no supported authentication",
        "it refuses this user's key",
        "The command `ssh -o BatchMode=yes {host} true` must work without a password; `ssh-copy-id "
        "{host}` puts the key there.",
    ),
    (
        r"^usage: ssh",
        "ssh does not accept this as a host",
        "Write it as a name from ~/.ssh/config, user@host or ssh://user@host:22. An IPv6 address "
        "with a port needs an entry in ~/.ssh/config.",
    ),
    (
        r"unable to negotiate",
        "ssh and its sshd have no algorithm in common",
        "The command `ssh {host}` must work: name what its sshd offers in ~/.ssh/config (such as "
        "HostKeyAlgorithms), or update it.",
    ),
    (
        r"bad configuration option|terminating, \d+ bad config",
        "ssh does not accept its configuration",
        "Correct ~/.ssh/config.",
    ),
)
"""What waiting does not change."""
_FOLLOWS = re.compile(r"closed by (UNKNOWN port|remote host)|stdio forwarding failed")
"""Written after the cause, where the connection to a jump host is the one that fails."""


class SshHost:
    """A host that commands are run on.

    Args:
        host: As ssh takes it.
        program: The ssh client.
    """

    def __init__(self, host: str, program: str = "ssh") -> None:
        self.host = host
        self._program = program
        self._control = tempfile.TemporaryDirectory(prefix="paretune-ssh-")
        socket = str(Path(self._control.name, "s"))
        self._socket = socket if len(socket.encode()) <= _LONGEST_SOCKET else "none"

    def command(self, *remote: str, master: bool = False) -> list[str]:
        """Return the command that runs a command there.

        Args:
            remote: It and its arguments, which no shell changes.
            master: Whether later connections may use this one's.
        """
        return [*self.client(master=master), "--", self.host, shlex.join(remote)]

    def client(self, *, master: bool = False) -> list[str]:
        """Return the ssh client with its options, without a host."""
        sharing = "yes" if master and self._socket != "none" else "no"
        shared = f"ControlMaster={sharing}", f"ControlPath={self._socket}"
        shown = {line.partition(" ")[0] for line in self._shown}
        newer = [option for name, option in _IF_KNOWN.items() if name in shown]
        options = (*_OPTIONS, *newer, *shared)
        kept_back = [word for name in self._kept_back for word in ("-u", name)]
        return [
            *(["env", *kept_back] if kept_back else []),
            *(self._program, "-T"),
            *(part for option in options for part in ("-o", option)),
        ]

    @cached_property
    def _shown(self) -> list[str]:
        """The options that ssh takes from the user's configuration for this host, one per line."""
        shown = self._bounded([self._program, "-G", "--", self.host], b"", 120.0)
        return shown.output.decode(errors="replace").splitlines()

    @cached_property
    def _kept_back(self) -> tuple[str, ...]:
        """Variables of this process that the user's configuration would send (`SendEnv`).

        ssh has no option against it, and an access token may be among them.
        """
        sent = [p for line in self._shown if line.startswith("sendenv ") for p in line.split()[1:]]
        return tuple(
            name
            for name in sorted(os.environ)
            if any(fnmatchcase(name, pattern) for pattern in sent)
            and not any(fnmatchcase(name, pattern) for pattern in _MAY_BE_SENT)
        )

    def run(self, *remote: str, given: bytes = b"", seconds: float = 120.0) -> bytes:
        """Run a command to its end.

        Args:
            remote: It and its arguments.
            given: Its standard input.
            seconds: How long it may take.

        Returns:
            Its standard output.

        Raises:
            UsageError: The host cannot be reached or refuses this user, or the command failed.
        """
        done = self._bounded(self.command(*remote), given, seconds)
        said = done.errors.decode(errors="replace")
        if done.status == _FAILED:
            raise self.refusal(said)
        if done.status != 0:
            printed = done.output.decode(errors="replace")  # that of a shell, such as nologin
            raise CommandError(remote[0], done.status, said if said.strip() else printed)
        return done.output

    def _bounded(self, command: list[str], given: bytes, seconds: float) -> Ended:
        """Run a command of this machine to its end.

        Raises:
            UsageError: It cannot be started, does not end, or writes without an end.
        """
        try:
            return run_bounded(command, given, seconds)
        except TimeoutError as error:
            raise UsageError(
                f"{self.host}: no answer within {seconds:.0f} s", hint=f"Try `ssh {self.host}`."
            ) from error
        except TooMuchError as error:
            raise UsageError(
                f"{self.host}: it writes without an end",
                hint=f"What does `ssh {self.host} true` print?",
            ) from error
        except OSError as error:
            raise UsageError(
                f"{self._program} cannot be started: {error.strerror}",
                hint="Install the OpenSSH client.",
            ) from error

    def refusal(self, said: str) -> UsageError:
        """Return the error that says why ssh did not connect.

        Args:
            said: What ssh wrote to its standard error.
        """
        lines = said.strip().splitlines() or ["no reason was given"]
        causes = [line for line in lines if not _FOLLOWS.search(line)] or lines
        found, line = next(
            (each, line)
            for each in (*_REFUSALS, *_AWAY)
            for line in reversed(causes)
            if re.search(each[0], line, re.IGNORECASE)
        )
        _, what, hint = found
        kind = TargetRefusesError if found in _REFUSALS else UsageError
        return kind(f"{self.host}: {what} ({line.strip()})", hint=hint.format(host=self.host))

    def close(self) -> None:
        """Remove the private folder."""
        self._control.cleanup()
