"""The data plane: what runs inside a replica. Needs this room, a release and, in a cluster, Ray.

loader    a package directory, imported as a release
host      which release answers in this process
core      requests of any protocol become one call of the model
protocols what each protocol's requests and answers look like: routes over the core
app       a release over HTTP (ASGI)
rpc       … and over gRPC
ingress   … and that over gRPC where Ray Serve listens
local     both under plain uvicorn, without Ray; `python -m nb2prod.serving`
slow      … and what it does about clients that never come to an end
replica   the Ray Serve deployment around them
front     what answers where no endpoint does
"""
