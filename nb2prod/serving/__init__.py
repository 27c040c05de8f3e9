"""The data plane: what runs inside a replica. Needs this room, a release and, in a cluster, Ray.

loader    a package directory, imported as a release
host      which release answers in this process
app       a release over HTTP (ASGI)
replica   the Ray Serve deployment around them
front     what answers where no endpoint does
"""
