"""`nas <stage> [override …]`: composes the settings, opens the run folder, calls the stage. The only user of Hydra."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import ConfigError, NasError
from nas.resources import CONF, ROOT

STAGES = {
    "run": "every stage from train to report in order, from where an earlier run stopped",
    "train": "train the supernet of a search space on a task",
    "profile": "measure this device: the space's blocks and some whole networks",
    "fit": "fit the latency predictor and print its error on held-out networks",
    "search": "search the space on Ray workers, then re-measure and re-score the front",
    "retrain": "train chosen architectures of the front alone and score them on test",
    "export": "write chosen architectures as safetensors, ONNX and torch.export, parity-checked",
    "report": "write report.html; --text prints the figures",
    "tune": "compare many searches, or retrainings stopped early, as trials of Ray Tune",
    "rank": "train some architectures alone, and test whether inherited scores rank them alike",
}
LOOKUPS = {
    "operators": "all kinds of token mixing; with a name its equation, costs, time beside softmax, a line to paste",
    "papers": "the source papers and in which form each works here; with an id how to see it",
}
"""Commands without a run folder, whose words are no Hydra overrides."""
DASHBOARD = "all runs below some folders in a browser, live: nas dashboard FOLDER… [--port --host --token]"
USAGE = """nas <stage> [override …]

{stages}

{lookups}

Settings are Hydra overrides, the same for every stage, and a run folder remembers those it was given:
  nas run                                       first search: byte-level language models, about 5 minutes
  nas run experiment=fashion_mnist              images
  nas profile profile.minutes=5                 a better latency predictor; profile.runtime=onnxruntime for another one
  nas search search.budget=500                  goes on with the search, up to 500 evaluations
  nas search constraints.latency_ms=4 search.name=under_4_ms
  nas tune 'tune.over={{search.strategy:[surrogate,random],search.seed:[0,1,2]}}'
  nas rank rank.seeds=[0,1,2]                   can the search's scores be trusted? 111 trainings
  nas train --cfg job                           shows all settings
Completion: eval "$(nas -sc install=bash)"
"""


class Spaces(SearchPathPlugin):
    """Makes `search_spaces/` a config group."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Adds the folder that holds `search_spaces`."""
        search_path.append(provider="nas", path=ROOT.as_uri())


def main(argv: Sequence[str] | None = None) -> None:
    """The command; exits with 0, 2 for wrong input, 130 or 143 when stopped."""
    args = list(sys.argv[1:] if argv is None else argv)
    if "-sc" in args or "--shell-completion" in args:
        _complete_after_stage()
        _compose_and_call("run", args)
        return
    if not args or args[0] in ("-h", "--help", "help"):
        print(USAGE.format(stages=_described(STAGES), lookups=_described({**LOOKUPS, "dashboard": DASHBOARD})))
        return
    stage, rest = args[0], args[1:]
    if stage in LOOKUPS:
        _look_up(stage, rest)
        return
    if stage == "dashboard":
        _show_runs(rest)
        return
    if stage not in STAGES:
        print(f"nas: a stage must be one of {', '.join(STAGES)}; got {stage!r}. See nas --help", file=sys.stderr)
        sys.exit(2)
    signal.signal(signal.SIGTERM, _terminate)
    _compose_and_call(stage, rest)


def _described(commands: Mapping[str, str]) -> str:
    return "\n".join(f"  {name:<10}{text}" for name, text in commands.items())


def _look_up(name: str, words: list[str]) -> None:
    from nas.catalogue import command

    show = {"operators": command.show_operators, "papers": command.show_papers}[name]
    try:
        print(show(words))
    except NasError as error:
        print(f"nas {name}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_runs(words: list[str]) -> None:
    from nas.dashboard.command import dashboard

    signal.signal(signal.SIGTERM, _terminate)
    try:
        dashboard(words)
    except NasError as error:
        print(f"nas dashboard: {error}", file=sys.stderr)
        sys.exit(2)


def _compose_and_call(stage: str, args: list[str]) -> None:
    text_only = stage == "report" and "--text" in args
    own = [arg for arg in args if arg != "--text"]
    Plugins.instance().register(Spaces)
    flags = [arg for arg in own if arg.startswith("-") or "=" not in arg]
    given = [arg for arg in own if arg not in flags]
    sys.argv = [f"nas {stage}", *flags, *_remembered(stage, given), *given]

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="nas")
    def job(cfg: DictConfig) -> None:
        _call(stage, cfg, list(HydraConfig.get().overrides.task), text_only=text_only)

    job()


def _remembered(stage: str, given: list[str]) -> list[str]:
    """What the run folder's earlier stages were given and this one does not say anew."""
    from hydra import compose, initialize_config_dir

    from nas.run import Run

    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name=f"nas {stage}"):
            cfg = compose("nas", overrides=[arg for arg in given if "," not in arg and not arg.startswith("hydra.")])
            folder, records = str(cfg.run.dir), ["run.json"]
            records += [f"tune/{cfg.tune.name}/run.json"] if stage == "tune" else []
    except Exception:  # noqa: BLE001 (whatever is wrong with the overrides, Hydra says it better on the real call)
        return []
    if not os.path.isdir(folder):
        return []
    run, said = Run.at(folder), {_key(arg) for arg in given}
    known = [arg for record in records for arg in run.read_json(record, {}).get("overrides", [])]
    return [arg for arg in {_key(arg): arg for arg in known}.values() if _key(arg) not in said]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _call(stage: str, cfg: DictConfig, overrides: list[str], *, text_only: bool) -> None:
    import nas.stages as stages
    from nas.settings import read_settings

    settings = None
    try:
        settings = read_settings(_plain(cfg))
        stages.call(stage, settings, overrides, text_only=text_only)
    except NasError as error:
        print(f"nas {stage}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (KeyboardInterrupt, SystemExit) as stop:
        code = stop.code if isinstance(stop, SystemExit) else 130
        if settings is not None and code in (130, 143):
            name = f" tune.name={settings.tune.name}" if stage == "tune" else ""
            print(f"\nstopped; go on with: nas {stage} run.dir={settings.run.dir}{name}", file=sys.stderr)
        sys.exit(code)


def _plain(cfg: DictConfig) -> dict[str, Any]:
    try:
        values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'settings'}: {str(error).splitlines()[0]}") from error
    return values


def _terminate(signum: int, _: FrameType | None) -> None:
    sys.exit(128 + signum)


def _complete_after_stage() -> None:
    """Hydra completes overrides; the stage word in front of them is taken out of the line it looks at."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) > 2 and words[1] in STAGES:
        os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
        os.environ["COMP_POINT"] = str(len(os.environ["COMP_LINE"]))


if __name__ == "__main__":
    main()
