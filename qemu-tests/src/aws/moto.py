"""AWS for tests: moto, and what it lacks for a host of an Auto Scaling group.

Listens on the ADDRESS and PORT of its arguments (0: the kernel chooses) and prints where; then a
line for each lifecycle action that it was told of, and for each order to a load balancer. Ends when
its standard input does, so it outlives nobody.
"""
import os
import sys

from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import EmptyResult
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


def told(verb):
    def handler(self):
        words = ["AutoScalingGroupName", "LifecycleHookName", "InstanceId", "LifecycleActionResult"]
        print(verb, *(self._get_param(word) or "-" for word in words), flush=True)
        return EmptyResult()

    return handler


AutoScalingResponse.complete_lifecycle_action = told("complete")
AutoScalingResponse.record_lifecycle_action_heartbeat = told("heartbeat")


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


class OneAtATime:
    """A request after the other. moto looks at a condition and writes in two steps, between which
    another thread of it may write; AWS does both at once. Bodies are read before, so that a client
    that sends slowly holds up nobody."""

    def __init__(self, application):
        self.application = application
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > 0:
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with self.lock:
            return self.application(environ, start_response)


def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


application = OneAtATime(Witness(DomainDispatcherApplication(create_backend_app)))
address, port = sys.argv[1], int(sys.argv[2])
server = make_server(address, port, application, threaded=True, request_handler=Quiet)
print(f"{address}:{server.port}", flush=True)
threading.Thread(target=end_with_parent, daemon=True).start()
server.serve_forever()
