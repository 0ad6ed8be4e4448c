"""The pages under docs/settings: their rows, and the examples below the tables."""

import re
from pathlib import Path

import yaml

PAGES = Path(__file__).resolve().parent.parent.parent / "docs" / "settings"
NAMESPACE = "hello-world.com"
# What an example leaves out is filled in so; addresses in examples look like this too.
SPARE = "10.0.9.{}:8080"
LINK = re.compile(r"\[[^\]]*\]\(#([a-z0-9-]+)\)")
ANCHOR = re.compile(r'<a id="([a-z0-9-]+)"></a>')
ADDRESS = re.compile(r"^10\.\d+\.\d+\.\d+:\d+$")


class Yaml(yaml.SafeLoader):
    """YAML 1.2's booleans, as Bowline reads them: `on` and `yes` are words."""


Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


class Wrong(Exception):
    """A page is not as it should be."""


class Page:
    """One page: which ids its tables name, and the example of each."""

    def __init__(self, path):
        self.name = path.stem
        self.rows = {}  # id: the row's first cell
        self.examples = {}  # id: (line, text)
        self.without = 0  # rows that say that there is nothing
        self.elsewhere = 0  # rows that lead to another page, whose tests are others
        self.wrong = []
        self._read(path.read_text().split("\n"))
        for one in self.rows:
            if one not in self.examples:
                self.wrong.append(f"row {one} links to no example")
            if not one.startswith(f"{self.name}-"):
                self.wrong.append(f"row {one} should begin with {self.name}-")
        self.wrong += [f"example {one} has no row" for one in self.examples if one not in self.rows]

    def _read(self, lines):
        pending, at = [], 0
        while at < len(lines):
            line = lines[at]
            if line.startswith("|"):
                self._row(line, at + 1)
            elif found := ANCHOR.findall(line):
                pending += found
            elif line.startswith("```yaml") and pending:
                start = at + 1
                while lines[at + 1] != "```":
                    at += 1
                for one in pending:
                    if one in self.examples:
                        self.wrong.append(f"line {start}: {one} has a second example")
                    self.examples[one] = (start, "\n".join(lines[start : at + 1]))
                pending, at = [], at + 1
            elif line.strip() and pending:
                self.wrong.append(f"line {at + 1}: no example after {', '.join(pending)}")
                pending = []
            at += 1

    def _row(self, line, number):
        # A bar inside of code is written \|.
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 4:
            self.wrong.append(f"line {number}: {len(cells)} cells, not 4")
            return
        if set(cells[0]) <= set("-: ") or cells[1] == "Bowline":
            return
        if found := LINK.findall(cells[3]):
            for one in found:
                if one in self.rows:
                    self.wrong.append(f"line {number}: {one} has a row already")
                self.rows[one] = cells[0]
        elif cells[1].startswith("none"):
            self.without += 1
        elif "](../" in cells[3]:
            self.elsewhere += 1
        else:
            self.wrong.append(f"line {number}: neither an example nor \"none\"")


def read_all():
    """All pages, by name."""
    return {path.stem: Page(path) for path in sorted(PAGES.glob("*.md"))}


def whole(text, endpoints=2, protocol=None):
    """The mesh of an example, with what it leaves out filled in."""
    example = yaml.load(text, Yaml)  # a safe loader: see there
    if not isinstance(example, dict):
        raise Wrong("an example is a mapping")
    services = example["services"] if "services" in example else [{"discoveryName": "server", **example}]
    spare = 0
    for at, service in enumerate(services):
        if "endpoints" not in service:
            count = endpoints if at == 0 else 1
            static = [{"address": SPARE.format(spare + one)} for one in range(1, count + 1)]
            spare += count
            service["endpoints"] = {"static": static}
        if at == 0:
            service.setdefault("clientAliases", [{"port": 5000}])
        if at == 0 and protocol:
            service.setdefault("appProtocol", protocol)
    return {"namespace": NAMESPACE, "services": services}


def blank(mesh):
    """The mesh without any policy: services, their aliases and endpoints, and nothing else."""
    def bare(service):
        kept = {key: service[key] for key in ("discoveryName", "clientAliases", "appProtocol", "endpoints") if key in service}
        if "static" in kept["endpoints"]:
            kept["endpoints"] = {"static": [{"address": one["address"]} for one in kept["endpoints"]["static"]]}
        return kept

    return {**mesh, "services": [bare(service) for service in mesh["services"]]}


def addresses(mesh):
    """{service: [address]} of the static endpoints."""
    return {service["discoveryName"]: [one["address"] for one in service["endpoints"].get("static", [])]
            for service in mesh["services"]}


def replace(value, table):
    """The value with each string that is in the table replaced."""
    if isinstance(value, dict):
        return {key: replace(inner, table) for key, inner in value.items()}
    if isinstance(value, list):
        return [replace(inner, table) for inner in value]
    return table.get(value, value) if isinstance(value, str) else value
