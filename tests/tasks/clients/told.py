"""How the clients in Python tell what they saw: a line of JSON for each check."""

import json
import os
import traceback

# Set where the client gets through the mesh by CONNECT: the proxy passes such bytes on unread.
TUNNEL = os.environ.get("TASKS_TUNNEL")


def check(name, look):
    """One check. `look` raises if it went wrong, or returns what is wrong, or nothing."""
    try:
        wrong = look()
    except Exception as error:  # whatever a library raises is an answer
        wrong = f"{type(error).__name__}: {error} {traceback.format_exc(limit=-2)}"
    print(json.dumps({"check": name, "wrong": str(wrong) if wrong else ""}), flush=True)


def unmarked(request_id):
    """What is wrong, if a request came to the app without the id that the mesh gives it."""
    return "" if request_id or TUNNEL else "no x-request-id came to the app: it was not called through the mesh"


def differs(seen, wanted):
    """What is wrong, if the two differ."""
    return "" if seen == wanted else f"{seen!r:.200} instead of {wanted!r:.200}"
