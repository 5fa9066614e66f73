"""Files for a public forge: they parse, and say what the repository says."""

import re
import sys

import pytest
from helpers.sources import ROOT

yaml = pytest.importorskip("yaml")
if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def load(name: str):
    return yaml.safe_load((ROOT / ".github" / name).read_text(encoding="utf-8"))


def test_the_test_workflow_calls_ci_run():
    jobs = load("workflows/test.yml")["jobs"]
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    assert ".ci/run" in steps and all("runs-on" in job for job in jobs.values())


def test_publishing_waits_for_a_version_tag():
    workflow = load("workflows/publish.yml")
    trigger = workflow[True]  # YAML 1.1 reads the key "on" as true
    assert trigger["push"]["tags"], trigger
    assert "REGISTRY_ACCESS_TOKEN" in (ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_issue_forms_have_what_the_forge_demands(name):
    form = load(f"ISSUE_TEMPLATE/{name}")
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"] if "id" in part]
    assert len(ids) == len(set(ids)) and all(part["type"] for part in form["body"])


def test_the_changelog_knows_the_version():
    versions = re.findall(r"^## (\d+[.]\d+[.]\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == PROJECT["project"]["version"]


def test_packages_stand_once():
    """pyproject's dependencies are requirements.txt's; its extra "test" is requirements-test.txt's."""
    def names(file):
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]

    assert names("requirements.txt") == PROJECT["project"]["dependencies"]
    assert names("requirements-test.txt") == PROJECT["project"]["optional-dependencies"]["test"]


def test_pictures_of_the_registry_exist():
    for name in ("Icon", "Banner"):
        assert (ROOT / PROJECT["tool"]["comfy"][name].partition("/main/")[2]).is_file()
