"""Configurations: nearest names, types, ranges, overrides, TOML there and back."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from prefrl.config import (
    AgentConfig,
    EnvConfig,
    LabelConfig,
    RewardConfig,
    RunConfig,
    ViewerConfig,
    first_batch,
    from_mapping,
    load,
    presets,
    settings_key,
    to_mapping,
)
from prefrl.names import choose, nearest
from prefrl.toml_tables import parse_override
from prefrl.types import MachineError, PrefrlError


def mistake(mapping: dict[str, Any]) -> str:
    with pytest.raises(PrefrlError) as caught:
        from_mapping(mapping)
    assert not isinstance(caught.value, MachineError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("mapping", "wrong", "right"),
    [
        ({"labels": {"budgte": 3}}, "labels.budgte", "'budget'"),
        ({"reward": {"member": 3}}, "reward.member", "'members'"),
        ({"setps": 3}, "setps", "'steps'"),
        ({"lables": {"budget": 3}}, "lables", "'labels'"),
        ({"env": {"Id": "x"}}, "env.Id", "'id'"),
        ({"agent": {"zzzzzz": 3}}, "agent.zzzzzz", "kwargs, name, normalize_obs"),
    ],
)
def test_an_unknown_key_names_the_nearest(mapping: dict[str, Any], wrong: str, right: str) -> None:
    message = mistake(mapping)
    assert repr(wrong) in message
    assert right in message


def test_nearest() -> None:
    table = {"HalfCheetah-v5": 1, "Hopper-v5": 2}
    assert nearest("halfcheetah-v5", table) == "did you mean 'HalfCheetah-v5'?"
    assert nearest("Hoper-v5", table) == "did you mean 'Hopper-v5'?"
    assert nearest("1234567", table) == "known: HalfCheetah-v5, Hopper-v5"
    assert choose(table, "Hopper-v5", "task") == 2
    with pytest.raises(PrefrlError, match=r"unknown task 'Hoper-v5': did you mean 'Hopper-v5'\?"):
        choose(table, "Hoper-v5", "task")


def test_many_names_are_not_listed() -> None:
    few, many = [f"{n}-v0" for n in range(20)], [f"{n}-v0" for n in range(21)]
    assert nearest("Hopper", few) == "known: " + ", ".join(sorted(few))
    assert nearest("Hopper", many) == "none of the 21 known names is similar"
    assert nearest("Hopper", many, "see there").endswith("is similar; see there")


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"steps": "many"}, "steps = 'many': it must be a whole number"),
        ({"steps": 1e5}, "steps = 100000.0: it must be a whole number"),
        ({"steps": True}, "steps = True: it must be a whole number"),
        ({"labels": {"ask_above": "0.1"}}, "labels.ask_above = '0.1': it must be a number"),
        ({"labels": {"ask_above": True}}, "labels.ask_above = True: it must be a number"),
        ({"labels": {"labeler": 3}}, "labels.labeler = 3: it must be a string"),
        ({"agent": {"normalize_obs": 1}}, "agent.normalize_obs = 1: it must be true or false"),
        ({"agent": {"kwargs": [1]}}, "agent.kwargs = [1]: it must be a table, e.g. [agent.kwargs]"),
        ({"reward": {"hidden": [64, "64"]}}, "reward.hidden[1] = '64': it must be a whole number"),
        ({"reward": {"hidden": 64}}, "reward.hidden = 64: it must be a list, e.g. [64]"),
        ({"labels": 700}, "labels = 700: it must be a table, [labels]"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(mapping: dict[str, Any], words: str) -> None:
    assert words in mistake(mapping)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (
            {"labels": {"ask_above": 0.51}},
            "labels.ask_above = 0.51 is out of range: it must be from 0 to 0.5",
        ),
        ({"labels": {"ask_above": -0.01}}, "labels.ask_above"),
        ({"labels": {"ask_above": float("nan")}}, "labels.ask_above = nan"),
        (
            {"labels": {"first_share": 1.5}},
            "labels.first_share = 1.5 is out of range: it must be from 0 to 1",
        ),
        (
            {"labels": {"pool_size": 1}},
            "labels.pool_size = 1 is out of range: it must be at least 2",
        ),
        ({"labels": {"segment_length": 0}}, "labels.segment_length"),
        ({"labels": {"warmup_steps": -1}}, "labels.warmup_steps"),
        (
            {"labels": {"expire_after": -1}},
            "labels.expire_after = -1 is out of range: it must be at least 0",
        ),
        ({"labels": {"expire_after": 0}}, None),
        (
            {"labels": {"open_at_once": 0}},
            "labels.open_at_once = 0 is out of range: it must be at least 1",
        ),
        ({"reward": {"noise": 1.0}}, "reward.noise"),
        (
            {"reward": {"l2": -1e-4}},
            "reward.l2 = -0.0001 is out of range: it must be from 0 to 0.1",
        ),
        ({"reward": {"l2": 0}}, None),
        (
            {"reward": {"target": "return"}},
            "reward.target = 'return': it must be one of comparisons, returns",
        ),
        ({"reward": {"target": "returns"}}, None),
        ({"reward": {"target": "returns", "doubt": True}}, "reward.doubt = True is about answers"),
        ({"reward": {"target": "returns", "pseudo_labels": 0.9}}, "reward.pseudo_labels = 0.9"),
        ({"reward": {"crop": 0.5, "sampled_steps": 6}}, "reward.crop = 0.5 has no effect with"),
        ({"reward": {"crop": 0.5, "sampled_steps": 6, "pseudo_labels": 0.9}}, None),
        (
            {"reward": {"pseudo_labels": 0.9, "restart": True}},
            "but reward.restart = true refits from scratch",
        ),
        (
            {"reward": {"pseudo_labels": 0.9}, "labels": {"schedule": "all-at-start"}},
            "but labels.schedule = 'all-at-start' refits from scratch",
        ),
        (
            {"reward": {"pseudo_labels": 0.9}, "labels": {"labeler": "store"}},
            "but labels.labeler = 'store' refits from scratch",
        ),
        (
            {"reward": {"dynamics": 0.5}, "labels": {"segment_length": 1}},
            "predicts a segment's next step",
        ),
        ({"labels": {"segment_length": 1}}, None),
        ({"reward": {"members": 0}}, "reward.members"),
        ({"reward": {"learning_rate": float("inf")}}, "reward.learning_rate = inf"),
        ({"reward": {"hidden": []}}, "reward.hidden = []"),
        ({"reward": {"hidden": [0, 64]}}, "reward.hidden = [0, 64]"),
        ({"reward": {"fit": "later"}}, "reward.fit = 'later': it must be one of async, sync"),
        (
            {"env": {"vec": "thread"}},
            "env.vec = 'thread': it must be one of auto, dummy, subproc, envpool",
        ),
        ({"env": {"n_envs": 0}}, "env.n_envs = 0"),
        ({"threads": 0}, "threads = 0"),
        ({"seed": -1}, "seed = -1"),
        (
            {"seed": 2**32},
            "seed = 4294967296 is out of range: it must be from 0 to 4294967295",
        ),
        (
            {"reward": {"noise": 0.9900001}},
            "noise = 0.9900001 is out of range: it must be from 0 to",
        ),
        ({"reward": {"l2": 3.0}}, "reward.l2 = 3 is out of range"),
        ({"steps": 8192}, "raise --steps or lower labels.warmup_steps"),
        (
            {"steps": 9000, "agent": {"explore_steps": 1000}},
            "agent.explore_steps = 1000: raise --s",
        ),
        ({"labels": {"budget": 2}}, None),  # a first batch of 2 will do
        ({"reward": {"members": 1}}, "members = 1 never disagrees"),
        ({"labels": {"budget": 1}}, "a budget of 1 labels is below the first batch"),
        ({"labels": {"first_share": 0.0}}, None),  # the fewest are ten
        ({"labels": {"first_share": 0.0, "first_least": 1}}, "raise --labels or labels.first_l"),
        (
            {"labels": {"first_least": -1}},
            "labels.first_least = -1 is out of range: it must be at least 0",
        ),
    ],
)
def test_ranges(mapping: dict[str, Any], words: str | None) -> None:
    if words is None:
        from_mapping(mapping)
    else:
        assert words in mistake(mapping)


NUMBERS = [
    (section, name)
    for section, table in {"": to_mapping(RunConfig()), **to_mapping(RunConfig())}.items()
    if isinstance(table, dict)
    for name, value in table.items()
    if type(value) in (int, float)
]


@pytest.mark.parametrize(("section", "name"), NUMBERS)
def test_every_number_has_its_range(section: str, name: str) -> None:
    where = f"{section}.{name}".lstrip(".")
    mapping = {section: {name: -1}} if section else {name: -1}
    assert f"{where} = -1 is out of range: " in mistake(mapping)


@pytest.mark.parametrize(
    "settings", [RunConfig, EnvConfig, LabelConfig, RewardConfig, AgentConfig, ViewerConfig]
)
def test_every_setting_says_what_it_means(settings: type) -> None:
    (body,) = ast.parse(inspect.getsource(settings)).body
    assert isinstance(body, ast.ClassDef) and ast.get_docstring(body)
    documented = {
        node.target.id
        for node, after in pairwise(body.body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    usual = settings()
    sections = {name for name, value in vars(usual).items() if dataclasses.is_dataclass(value)}
    assert documented == vars(usual).keys() - sections


def test_what_is_left_out_comes_from_the_base() -> None:
    base = from_mapping({"steps": 50_000, "labels": {"budget": 100, "strategy": "uniform"}})
    config = from_mapping({"labels": {"budget": 50}, "reward": {"output_std": 2}}, base)
    assert config == RunConfig(
        labels=LabelConfig(budget=50, strategy="uniform"),
        reward=RewardConfig(output_std=2.0),
        steps=50_000,
    )
    assert isinstance(config.reward.output_std, float)
    assert base.labels.budget == 100


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("reward.members=5", {"reward": {"members": 5}}),
        ("labels.ask_above = 0.1", {"labels": {"ask_above": 0.1}}),
        ("agent.name=sac", {"agent": {"name": "sac"}}),
        ("agent.name='sac'", {"agent": {"name": "sac"}}),
        ("reward.hidden=[32, 32]", {"reward": {"hidden": [32, 32]}}),
        ("agent.normalize_obs=false", {"agent": {"normalize_obs": False}}),
        (
            "agent.kwargs.learning_rate=linear:3e-4",
            {"agent": {"kwargs": {"learning_rate": "linear:3e-4"}}},
        ),
        ("env.kwargs={gravity = 3}", {"env": {"kwargs": {"gravity": 3}}}),
        ("env.module=", {"env": {"module": ""}}),
        (
            "agent.kwargs.policy_kwargs.a=x=y",
            {"agent": {"kwargs": {"policy_kwargs": {"a": "x=y"}}}},
        ),
    ],
)
def test_overrides(text: str, tables: dict[str, Any]) -> None:
    assert parse_override(text) == tables


@pytest.mark.parametrize("text", ["reward.members", "=5", "  =5"])
def test_an_override_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(PrefrlError, match=r"write it as section\.key=value"):
        parse_override(text)


def test_a_first_batch_is_a_share_and_no_less_than_ten_or_everything() -> None:
    assert first_batch(LabelConfig(budget=700)) == 175
    assert first_batch(LabelConfig(budget=25)) == 10
    assert first_batch(LabelConfig(budget=25, first_least=0)) == 6
    assert first_batch(LabelConfig(budget=6)) == 6
    assert first_batch(LabelConfig(budget=700, schedule="all-at-start")) == 700


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(PrefrlError, match=r"no configuration file .*none\.toml"):
        load(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("steps = = 3")
    with pytest.raises(PrefrlError, match=r"broken.toml is not valid TOML: .*line 1"):
        load(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(PrefrlError, match="not valid TOML"):
        load(broken)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=8)
finite = st.floats(-1e9, 1e9)
kwargs = st.dictionaries(texts, st.integers(-(2**31), 2**31) | finite | st.booleans() | texts)
shares = st.floats(0, 0.5)
configs = st.builds(
    RunConfig,
    env=st.builds(EnvConfig, id=texts, kwargs=kwargs, n_envs=st.integers(1, 64)),
    labels=st.builds(LabelConfig, labeler=texts, budget=st.integers(8, 10**6), ask_above=shares),
    reward=st.builds(
        RewardConfig,
        hidden=st.lists(st.integers(1, 512), min_size=1, max_size=4).map(tuple),
        noise=shares,
        output_std=st.floats(1e-6, 1e6),
    ),
    agent=st.builds(AgentConfig, kwargs=kwargs, normalize_obs=st.booleans()),
    steps=st.integers(8193, 10**9),
    seed=st.integers(0, 2**32 - 1),
)


@given(configs)
def test_toml_there_and_back(config: RunConfig) -> None:
    assert from_mapping(tomllib.loads(tomli_w.dumps(to_mapping(config)))) == config


def test_presets_that_were_not_installed_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefrl.config.PRESETS", tmp_path / "none")
    with pytest.raises(PrefrlError, match=r"pip install -e \."):
        presets()


@pytest.mark.parametrize("path", presets().values(), ids=lambda path: path.stem)
def test_presets_are_valid_and_survive_a_run_folder(path: Path, tmp_path: Path) -> None:
    config = load(path)
    copy = tmp_path / "config.toml"
    copy.write_text(tomli_w.dumps(to_mapping(config)), encoding="utf-8")
    assert load(copy) == config
    assert presets()[config.env.id] == path


def test_one_more_keyword_argument_leaves_the_others_as_they_are() -> None:
    """What a message advises, agent.kwargs.learning_rate, on a preset of several."""
    preset = load(presets()["prefrl/Hopper-v0"])
    changed = from_mapping(parse_override("agent.kwargs.learning_rate=1e-4"), preset)
    assert changed.agent.kwargs == preset.agent.kwargs | {"learning_rate": 1e-4}
    assert len(changed.agent.kwargs) > 3
    deep = {"agent": {"kwargs": {"policy_kwargs": {"net_arch": [8], "ortho_init": False}}}}
    deeper = from_mapping(
        parse_override("agent.kwargs.policy_kwargs.net_arch=[4]"), from_mapping(deep)
    )
    assert deeper.agent.kwargs == {"policy_kwargs": {"net_arch": [4], "ortho_init": False}}


def test_the_settings_key_is_of_what_differs_from_the_defaults() -> None:
    usual = from_mapping({"env": {"id": "Pendulum-v1"}})
    said = from_mapping({"env": {"id": "Pendulum-v1"}, "labels": {"budget": 700}})
    assert settings_key(said) == settings_key(usual)
    others: list[dict[str, Any]] = [
        {"labels": {"budget": 701}},
        {"agent": {"kwargs": {"gamma": 0.9}}},
        {"agent": {"kwargs": {"gamma": 0.8}}},
        {"seed": 1},
    ]
    keys = [settings_key(from_mapping(other, usual)) for other in others]
    assert len({settings_key(usual), *keys}) == 5
