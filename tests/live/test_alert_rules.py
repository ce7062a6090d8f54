"""Every alert rule, put to Prometheus' own rule tester: it fires when it should, not earlier, and keeps quiet otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness._run import run
from harness.bundle.store import local_images, local_tag
from harness.judge.profiles import PROFILES, Profile
from harness.stack import rules

pytestmark = pytest.mark.live

POINTS = 200
POD = 'namespace="boutique-a", pod="redis-cart-1"'
Series = dict[str, str]


def always(value: float) -> str:
    return f"{value}x{POINTS}"


def deployment(name: str, value: str, namespace: str = "boutique-a") -> Series:
    return {f'kube_deployment_status_replicas_available{{namespace="{namespace}", deployment="{name}"}}': value}


def phase(value: str) -> Series:
    return {f'kube_pod_status_phase{{{POD}, phase="Pending"}}': value}


def waiting(reason: str) -> Series:
    return {f'kube_pod_container_status_waiting_reason{{{POD}, container="redis", reason="{reason}"}}': always(1)}


def restarts(value: str) -> Series:
    return {f'kube_pod_container_status_restarts_total{{{POD}, container="redis"}}': value}


def redis_memory(used: float) -> Series:
    return {
        f'container_memory_working_set_bytes{{{POD}, container="redis"}}': always(used),
        f'kube_pod_container_resource_limits{{{POD}, container="redis", resource="memory"}}': always(100),
    }


def node_cpu(busy: float, profile: Profile) -> Series:
    step = busy * profile.scrape_s
    return {
        'container_cpu_usage_seconds_total{id="/", node="n", cpu="total"}': f"0+{step}x{POINTS}",
        'machine_cpu_cores{node="n"}': always(2),
    }


def node_memory(used: float) -> Series:
    return {
        'container_memory_working_set_bytes{id="/", node="n"}': always(used),
        'machine_memory_bytes{node="n"}': always(100),
    }


def node_ready(value: str) -> Series:
    return {'kube_node_status_condition{node="n", condition="Ready", status="true"}': value}


def loud(profile: Profile) -> dict[str, tuple[Series, dict[str, str]]]:
    """For each alert what makes it fire, and the labels that it then has besides its severity."""
    pod = {"namespace": "boutique-a", "pod": "redis-cart-1"}
    cases: dict[str, tuple[Series, dict[str, str]]] = {
        "PodCrashLooping": (waiting("CrashLoopBackOff"), {**pod, "container": "redis"}),
        "PodNotRunning": (phase(always(1)), pod),
        "PodRestartTooMany": (restarts(f"0+1x{POINTS}"), pod),
        "RedisMemoryHigh": (redis_memory(95), pod),
        "NodeCPUHigh": (node_cpu(1.9, profile), {"node": "n"}),
        "NodeMemoryHigh": (node_memory(95), {"node": "n"}),
        "NodeNotReady": (node_ready(always(0)), {"node": "n"}),
        rules.WATCHDOG: ({}, {}),
    }
    for rule in rules.RULES:
        if rule.app:
            labels = {"namespace": "boutique-a", "deployment": rule.app}
            cases[rule.name] = (deployment(rule.app, always(0)), labels)
        elif rule.group == "platform":
            cases[rule.name] = ({f'up{{job="{job_of(rule)}", instance="i"}}': always(0)}, {})
    return cases


def quiet(profile: Profile) -> list[tuple[str, Series]]:
    """What must not raise an alert."""
    replaced = max(1, int(2 * profile.for_s / profile.scrape_s))  # Pending for twice the profile's `for`
    cases: list[tuple[str, Series]] = [
        ("PodCrashLooping", waiting("ContainerCreating")),
        ("PodNotRunning", phase(f"1x{replaced - 1} {always(0)}")),
        ("PodRestartTooMany", restarts(f"0x10 {always(1)}")),
        ("RedisMemoryHigh", redis_memory(50)),
        ("NodeCPUHigh", node_cpu(1.0, profile)),
        ("NodeMemoryHigh", node_memory(50)),
        ("NodeNotReady", node_ready(always(1))),
    ]
    for rule in rules.RULES:
        if rule.app:
            cases.append((rule.name, deployment(rule.app, always(1))))
            cases.append((rule.name, deployment(rule.app, always(0), namespace="someone-else")))
        elif rule.group == "platform":
            # One scrape that fails is no outage.
            cases.append((rule.name, {f'up{{job="{job_of(rule)}", instance="i"}}': f"1x10 0x0 {always(1)}"}))
    return cases


def job_of(rule: rules.Rule) -> str:
    return rule.expr.split('job="')[1].split('"')[0]


def case(profile: Profile, series: Series, asked: list[dict[str, Any]]) -> dict[str, Any]:
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": f"{profile.scrape_s:.0f}s", "input_series": inputs, "alert_rule_test": asked}


def fires(profile: Profile, rule: rules.Rule, series: Series, labels: dict[str, str]) -> dict[str, Any]:
    expected = [{"exp_labels": {**labels, "severity": rule.severity}, "exp_annotations": {"summary": "?"}}]
    for_s = rule.for_s(profile)
    # A rate and a count need a full window before they say the truth.
    late_s = max(60.0, 12 * profile.scrape_s) if "rate(" in rule.expr or "increase(" in rule.expr else 0
    asked = [{"eval_time": f"{for_s + late_s:.0f}s", "alertname": rule.name, "exp_alerts": expected}]
    if for_s:
        asked.append({"eval_time": f"{for_s - profile.eval_s:.0f}s", "alertname": rule.name, "exp_alerts": []})
    return case(profile, series, asked)


def silent(profile: Profile, name: str, series: Series) -> dict[str, Any]:
    last_s = int(POINTS * profile.scrape_s)
    times = range(0, last_s, int(10 * profile.scrape_s))
    return case(profile, series, [{"eval_time": f"{t}s", "alertname": name, "exp_alerts": []} for t in times])


def rule_tester(folder: Path, profile: Profile, tests: list[dict[str, Any]]) -> tuple[bool, str]:
    """Run Prometheus' rule tester on the rules of a profile; annotations are left out."""
    loaded = json.loads(json.dumps(rules.rule_file(profile)))
    for group in loaded["groups"]:
        for rule in group["rules"]:
            rule["annotations"] = {"summary": "?"}
    (folder / "rules.json").write_text(json.dumps(loaded))
    whole = {"rule_files": ["rules.json"], "evaluation_interval": f"{profile.eval_s:.0f}s", "tests": tests}
    (folder / "tests.json").write_text(json.dumps(whole))
    folder.chmod(0o755)
    image = local_tag("prometheus")
    if image not in local_images():
        pytest.skip("the rule tester comes with the Prometheus image, which was pulled into the mirror only")
    args = ["docker", "run", "--rm", "--network=none", "-v", f"{folder}:/t:ro", "--entrypoint", "promtool", image]
    done = run([*args, "test", "rules", "/t/tests.json"], timeout_s=120, check=False)
    return done.ok, done.out + done.err


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_rule_fires_when_its_condition_has_held_and_not_before(tmp_path: Path, profile: Profile) -> None:
    cases = loud(profile)
    assert set(cases) == rules.known_alerts()
    ok, said = rule_tester(tmp_path, profile, [fires(profile, r, *cases[r.name]) for r in rules.RULES])
    assert ok, said


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_no_rule_fires_for_what_is_no_trouble(tmp_path: Path, profile: Profile) -> None:
    cases = quiet(profile)
    assert {name for name, _ in cases} == rules.known_alerts() - {rules.WATCHDOG}
    ok, said = rule_tester(tmp_path, profile, [silent(profile, name, series) for name, series in cases])
    assert ok, said


def test_the_tester_notices_an_alert_that_should_not_be(tmp_path: Path) -> None:
    profile = PROFILES["fast"]
    ok, said = rule_tester(tmp_path, profile, [silent(profile, "FrontendDown", deployment("frontend", always(0)))])
    assert not ok
    assert "FrontendDown" in said
