import json
import os

import boto3
from botocore.config import Config

# By default, boto3 waits 60 seconds, and then invokes the function again, five times in all.
config = Config(connect_timeout=5, read_timeout=25, retries={"total_max_attempts": 1})
client = boto3.client("lambda", config=config)


def get_live_migration(group_id, live_migration_id):
    """Returns the status of a live migration. A failure is a RuntimeError with its name and a sentence."""
    payload = json.dumps({"groupId": group_id, "liveMigrationId": live_migration_id})
    response = client.invoke(FunctionName=os.environ["GET_LIVE_MIGRATION"], Payload=payload)
    answer = json.load(response["Payload"])
    if "FunctionError" in response:
        raise RuntimeError(answer["errorType"], answer["errorMessage"])
    return answer
