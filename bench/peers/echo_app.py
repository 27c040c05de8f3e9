"""The floor: a raw ASGI app that reads a request and answers it. uvicorn: echo_app:app; Ray: echo_app.py PORT

In Ray it is the smallest replica that there can be, behind HAProxy, with the settings of nb2prod's clusters.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

BODY = b'{"predictions":[0.5]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        continue
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def main(port: int) -> None:
    from bench.servers import free_port  # the peers' environment lacks what that needs

    os.environ |= {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_worker_niceness": "0",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
    }
    import ray
    from ray import serve

    @serve.deployment(
        max_ongoing_requests=1_000,
        ray_actor_options={"num_cpus": 0.1},
        logging_config={"enable_access_log": False},
    )
    @serve.ingress()
    class Echo:
        def __serve_build_asgi_app__(self) -> Any:
            return app

    ray.init(include_dashboard=False)
    serve.start(http_options={"port": port})
    serve.run(Echo.bind(), route_prefix="/predict")
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
