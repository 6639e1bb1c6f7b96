"""What an endpoint gets at: the visord that it belongs to."""

from fastapi import Request

from chronovisor.host.visord import Visord


def visord_of(request: Request) -> Visord:
    """Return the visord that serves a request."""
    visord: Visord = request.app.state.visord
    return visord
