"""A web app of Debian's Python under gunicorn, which finds the kept socket by LISTEN_FDS itself."""

import collections
import os
import threading
import time
import urllib.parse

from gunicorn.app.base import BaseApplication

lock = threading.Lock()
seen = collections.Counter()


def serve(environ, start_response):
    """Answers as the load generator wants it: see `Kind` in load/request.rs."""
    path, identity = environ["PATH_INFO"], environ.get("HTTP_X_REQUEST_ID", "")
    with lock:
        seen[identity] += 1
        count = seen[identity]
    if path == "/up":
        body = b"ok"
    elif path == "/echo":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    else:
        query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
        # No wait for anything: /slow?ms=N is slow on purpose, so that requests are under way.
        time.sleep(int(query.get("ms", ["0"])[0]) / 1000)
        words = f"id={identity} instance={os.getpid()} count={count} version=@version@\n"
        body = words.encode()
    headers = [("Content-Length", str(len(body)))]
    if path != "/up":
        headers += [("X-Request-Id", identity), ("X-Request-Count", str(count))]
    start_response("200 OK", headers)
    return [body]


class Server(BaseApplication):
    def load_config(self):
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("threads", 16)
        # It does not announce the end of a kept connection, so it keeps none.
        self.cfg.set("keepalive", 0)
        self.cfg.set("graceful_timeout", 8)

    def load(self):
        return serve


if __name__ == "__main__":
    Server().run()
