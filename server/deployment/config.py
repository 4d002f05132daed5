"""server.toml: a coordinator's own configuration, private."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from privacy.address import HostPort
from privacy.spec import Spec

FILE = "server.toml"
Port = Annotated[int, Field(ge=1, le=65535)]


class ServerConfig(Spec):
    """A coordinator. Relative paths start where server.toml stands.

    Attributes:
        reached_at: HOST:PORT under which sites reach this machine.
        fleet: HOST:PORT that the listener for sites binds; it serves nothing but Flower's Fleet
            API.
        control_port: Port of 127.0.0.1 with all of Flower's APIs. Flower asks nobody there who
            they are, so it has no host that one could set.
        ca: What sites trust.
        certificate: Of the listener for sites, with those between it and the CA behind it.
        key: Its private key.
        control_ca: What this machine's own processes trust on 127.0.0.1; no site does.
        control_certificate: Of the port on 127.0.0.1.
        control_key: Its private key.
        superexec_secret: Shared by SuperLink and SuperExec, which starts the ServerApp.
        database: The SuperLink's; holds updates in flight.
        sites: Who is enrolled.
        flower: Flower's home.
        runs: Where studies write: journal, checkpoints, weights, MLflow's database.
        mlflow: MLflow's tracking URI; empty for `mlflow.db` in `runs`.
        folder: Where server.toml stands; not a key of the file.
    """

    reached_at: HostPort
    fleet: HostPort
    control_port: Port = 9093
    ca: Path = Path("ca.crt")
    certificate: Path = Path("server.crt")
    key: Path = Path("server.key")
    control_ca: Path = Path("control-ca.crt")
    control_certificate: Path = Path("control.crt")
    control_key: Path = Path("control.key")
    superexec_secret: Path = Path("superexec.secret")
    database: Path = Path("state.db")
    sites: Path = Path("sites.json")
    flower: Path = Path("flower")
    runs: Path = Path("runs")
    mlflow: str = ""
    folder: Annotated[Path, Field(exclude=True)] = Path()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads server.toml.

        Raises:
            ValueError: In one line, what does not fit and where.
        """
        return super().read(path).model_copy(update={"folder": path.resolve().parent})

    def at(self, path: Path) -> Path:
        """A path of the configuration, from where server.toml stands."""
        return self.folder / path

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI, also where it is left to us."""
        return self.mlflow or f"sqlite:///{self.at(self.runs) / 'mlflow.db'}"

    @property
    def control(self) -> str:
        """HOST:PORT of the port with all APIs."""
        return f"127.0.0.1:{self.control_port}"
