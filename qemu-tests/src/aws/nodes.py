"""A load balancer whose control plane is told things and whose nodes learn of them late.

Each order that changes targets, or what an Auto Scaling group does, is a line of the record, with
what was so when it came: `call DeregisterTargets i-1:4000 web-1 healthy`, the version that answered
there and how the target stood. Calls can be made to fail. The nodes are the servers of an HAProxy
on this machine: one sends to a target that is healthy, and to one that left for a moment more.
"""
import json
import re
import socket
import urllib.parse
import urllib.request

from moto.elbv2.models import elbv2_backends

PROPAGATION_S = 0.5
LOOK_S = 0.02
ASK_S = 2.0
OF_TARGETS = ("RegisterTargets", "DeregisterTargets")
OF_GROUPS = ("EnterStandby", "ExitStandby", "SuspendProcesses", "ResumeProcesses")
STATUS = {"Throttling": "400 Bad Request", "InternalFailure": "500 Internal Server Error"}
ERROR = ("<ErrorResponse><Error><Type>Sender</Type><Code>{0}</Code><Message>{0}, says the test"
         "</Message></Error><RequestId>test</RequestId></ErrorResponse>")

troubles = []


def backends():
    """Every account and region that somebody used."""
    return [of_region for of_account in elbv2_backends.values() for of_region in of_account.values()]


def groups():
    return [(group, backend.ec2_backend)
            for backend in backends() for group in backend.target_groups.values()]


def answers(port):
    """The version that serves at this port of this machine."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=ASK_S) as answer:
            found = re.search(r"version=(\S+)", answer.read().decode())
            return found.group(1) if found else "?"
    except OSError:
        return "-"


def described(words):
    """What an order is about, and what is so before it."""
    action, texts = words["Action"][0], []
    if action in OF_GROUPS:
        return f"{action} {words.get('InstanceIds.member.1', words['AutoScalingGroupName'])[0]}"
    arn, number = words["TargetGroupArn"][0], 1
    while name := words.get(f"Targets.member.{number}.Id"):
        for group, backend in groups():
            if group.arn == arn:
                port = words.get(f"Targets.member.{number}.Port", [group.port])[0]
                state, _ = health(group, {"Id": name[0], "Port": port}, backend)
                texts.append(f"{name[0]}:{port} {answers(port)} {state}")
        number += 1
    return f"{action} {' '.join(texts)}"


class Witness:
    """Writes orders down, and fails calls of the two services as it was told to."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["PATH_INFO"].startswith("/rollinit/"):
            return self.control(environ["PATH_INFO"], json.loads(body), start_response)
        words = urllib.parse.parse_qs(body.decode("latin-1"))
        action = words.get("Action", [""])[0]
        trouble = None
        if action in (*OF_TARGETS, *OF_GROUPS):
            trouble = troubles.pop(0) if troubles else None
            print("call", described(words), *([trouble] if trouble else []), flush=True)
        if trouble != "Throttling":
            answer = self.application(environ, start_response if trouble is None else ignore)
        if trouble is None:
            return answer
        start_response(STATUS[trouble], [("Content-Type", "text/xml")])
        return [ERROR.format(trouble).encode()]

    def control(self, path, told, start_response):
        if path == "/rollinit/troubles":
            troubles.extend(told)
        else:
            threading.Thread(target=follow, args=(told,), daemon=True).start()
        start_response("200 OK", [])
        return [b""]


def ignore(*_):
    return lambda _: None


def is_sent_to(name, port):
    for group, backend in groups():
        entry = known(group).get((name, int(port)))
        if entry is None:
            continue
        if entry.left is not None:
            return time.monotonic() - entry.left < PROPAGATION_S
        return health(group, {"Id": name, "Port": port}, backend)[0] == "healthy"
    return False


def follow(told):
    """Tells HAProxy for ever to whom it sends."""
    states = {}
    while True:
        for target, server in told["servers"].items():
            name, port = target.split(":")
            with application.lock:
                state = "ready" if is_sent_to(name, port) else "drain"
            if states.get(target) == state:
                continue
            try:
                with socket.socket(socket.AF_UNIX) as stream:
                    stream.connect(told["socket"])
                    stream.sendall(f"set server {server} state {state}\n".encode())
                    stream.shutdown(socket.SHUT_WR)
                    while stream.recv(4096):
                        pass
                states[target] = state
            except OSError:
                pass  # not there yet, or not any more
        # Targets come to be healthy by time alone, as AWS's do: there is no event to await.
        time.sleep(LOOK_S)
