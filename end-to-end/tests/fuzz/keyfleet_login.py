"""Logs schemathesis in: a token lives 300 s, a long run longer."""

import os

import requests
import schemathesis

OPEN = ("/auth/tokens", "/auth/revoke", "/auth/jwks.json")


@schemathesis.auth(refresh_interval=200)
class Login:
    def get(self, case, context):
        user = {"username": os.environ["KEYFLEET_USER"], "password": os.environ["KEYFLEET_PASSWORD"]}
        url = os.environ["KEYFLEET_URL"] + "/api/v1/auth/tokens"
        answer = requests.post(url, json=user, verify=os.environ["KEYFLEET_CA"], timeout=60)
        answer.raise_for_status()
        return answer.json()["jwt"]

    def set(self, case, token, context):
        if not case.operation.path.endswith(OPEN):
            case.headers["Authorization"] = "Bearer " + token
