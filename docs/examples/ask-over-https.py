import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session


def get_live_migration(api_url, region, group_id, live_migration_id):
    """Returns the status of a live migration. A failure is a RuntimeError with its name and a sentence."""
    request = AWSRequest("GET", f"{api_url}/groups/{group_id}/liveMigrations/{live_migration_id}")
    identity = Session().get_credentials().get_frozen_credentials()
    SigV4Auth(identity, "execute-api", region).add_auth(request)
    try:
        with urlopen(Request(request.url, headers=dict(request.headers)), timeout=25) as response:
            return json.load(response)
    except HTTPError as error:
        answer = json.load(error)
        # From the API Gateway itself, which refuses callers, comes a message without a code.
        raise RuntimeError(answer.get("code", f"HTTP {error.code}"), answer.get("detail", str(answer))) from None
