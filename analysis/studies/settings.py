"""Settings as the command composes them, for studies that do without a run."""

from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from nas.cli import Spaces
from nas.resources import CONF
from nas.settings import Settings, read_settings


def composed(*overrides: str) -> Settings:
    """Those of conf/nas.yaml under the overrides."""
    Plugins.instance().register(Spaces)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("nas", overrides=list(overrides))
    return read_settings(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
