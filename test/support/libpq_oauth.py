"""libpq 18 by ctypes: signs in by OAUTHBEARER with a token that is there already, and prints as JSON
who it is and what libpq asked for, or why it may not come in.

Environment: LIBPQ is the library's path, CONNINFO a connection string, TOKEN the token; without TOKEN
there is no hook either.
"""

import ctypes
import json
import os
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_void_p

CONNECTION_OK = 0
PQAUTHDATA_OAUTH_BEARER_TOKEN = 1


class BearerRequest(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h: two fields to read, four to fill."""

    _fields_ = [
        ("openid_configuration", c_char_p),
        ("scope", c_char_p),
        ("poll", c_void_p),
        ("cleanup", c_void_p),
        ("token", c_char_p),
        ("user", c_void_p),
    ]


Hook = CFUNCTYPE(c_int, c_int, c_void_p, POINTER(BearerRequest))

libpq = ctypes.CDLL(os.environ["LIBPQ"])
libpq.PQsetAuthDataHook.argtypes = [Hook]
for name, result, arguments in [
    ("PQconnectdb", c_void_p, [c_char_p]),
    ("PQstatus", c_int, [c_void_p]),
    ("PQerrorMessage", c_char_p, [c_void_p]),
    ("PQexec", c_void_p, [c_void_p, c_char_p]),
    ("PQgetvalue", c_char_p, [c_void_p, c_int, c_int]),
    ("PQclear", None, [c_void_p]),
    ("PQfinish", None, [c_void_p]),
]:
    function = getattr(libpq, name)
    function.restype, function.argtypes = result, arguments

token = os.environ.get("TOKEN", "").encode()
asked = []


@Hook
def give_token(kind, _connection, request):
    if kind != PQAUTHDATA_OAUTH_BEARER_TOKEN:
        return 0
    wanted = request.contents
    asked.append([text and text.decode() for text in (wanted.openid_configuration, wanted.scope)])
    wanted.token = token
    return 1


if token:
    libpq.PQsetAuthDataHook(give_token)
connection = libpq.PQconnectdb(os.environ["CONNINFO"].encode())
seen = {"asked": asked}
if libpq.PQstatus(connection) == CONNECTION_OK:
    result = libpq.PQexec(connection, b"select current_user")
    seen["user"] = libpq.PQgetvalue(result, 0, 0).decode()
    libpq.PQclear(result)
else:
    seen["error"] = libpq.PQerrorMessage(connection).decode()
libpq.PQfinish(connection)
print(json.dumps(seen))
