"""Talks to the supervisor (or the tests' fake of it) as a foreign client.

usage: foreign.py unix:/path/of/socket /path/of/io.rollinit.Supervisor.varlink

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

print("all answers were as expected")
