"""Talks to the supervisor (or the tests' fake of it) as a foreign client, and to the agent.

usage: foreign.py unix:/path/of/socket /path/of/io.rollinit.Supervisor.varlink
                  [unix:/path/of/agent /path/of/io.rollinit.Agent.varlink]

Uses nothing of rollinit: methods and types come from the description that the server sends.
"""

import base64
import sys

import varlink

client = varlink.Client(address=sys.argv[1])
interfaces = client.get_interfaces()
assert "io.rollinit.Supervisor" in interfaces, interfaces

with client.open("io.rollinit.Supervisor") as supervisor:
    status = supervisor.GetStatus()
    web = [service for service in status["services"] if service["name"] == "web"][0]
    assert web["state"] == "running" and web["pid"] == 1234, web
    assert supervisor.GetStatus("web")["services"] == [web]

    processes = supervisor.ListProcesses()["services"]
    assert processes[1]["memory_bytes"] == 134217728, processes

    for app in supervisor.Apps()["apps"]:
        assert app["policy"]["strategy"] in ("overlap", "restart"), app

    records = supervisor.GetLogs(lines=10)["records"]
    assert records[0]["text"] == "hello", records
    assert base64.b64decode(records[1]["base64"]) == b"\xff\xfe", records

    texts = [
        event["text"]
        for reply in supervisor.WatchEvents(_more=True)
        for event in reply["events"]
    ]
    assert texts[0] == "web#3 is ready" and len(texts) == 3, texts

    try:
        supervisor.Stop("web")
        raise SystemExit("a reader stopped a service")
    except varlink.VarlinkError as error:
        assert error.error() == "io.rollinit.Supervisor.NotPermitted", error
        assert error.parameters()["needs"] == "operate", error

    try:
        supervisor.GetStatus("wen")
        raise SystemExit("a service that does not exist has a status")
    except varlink.VarlinkError as error:
        assert error.error() == "io.rollinit.Supervisor.NoSuchService", error
        assert error.parameters()["nearest"] == "web", error

# The checked-in description, laid out for people, is one that a foreign parser accepts.
with open(sys.argv[2], encoding="utf-8") as description:
    assert varlink.Interface(description.read()).name == "io.rollinit.Supervisor"


def agent(address, description):
    """The second interface, which is only there on a host with apps."""
    client = varlink.Client(address=address)
    assert "io.rollinit.Agent" in client.get_interfaces()
    with client.open("io.rollinit.Agent") as agent:
        generations = agent.Generations("web")["generations"]
        current = [each for each in generations if each["current"]]
        assert [each["number"] for each in current] == [42], generations

        told = [reply["progress"] for reply in agent.Follow("7H2K", _more=True)]
        assert told[0]["step"] == "plan" and told[0].get("outcome") is None, told[0]
        assert told[-1]["outcome"]["kind"] == "committed", told[-1]

        swaps = agent.Swaps("web")["swaps"]
        assert swaps[0]["swap"] == "7H2K" and swaps[0].get("outcome") is None, swaps

        try:
            agent.Swap("web", "/nix/store/x")
            raise SystemExit("a reader swapped an app")
        except varlink.VarlinkError as error:
            assert error.error() == "io.rollinit.Agent.NotPermitted", error

        try:
            agent.Follow("0000")
            raise SystemExit("a swap that does not exist is told of")
        except varlink.VarlinkError as error:
            assert error.error() == "io.rollinit.Agent.NoSuchSwap", error

    with open(description, encoding="utf-8") as text:
        assert varlink.Interface(text.read()).name == "io.rollinit.Agent"


if len(sys.argv) > 3:
    agent(sys.argv[3], sys.argv[4])

print("all answers were as expected")
