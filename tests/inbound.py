"""Events from outside, with boto3: an API key with a quota, a partner event source, a webhook that GitHub signs."""

import hashlib, hmac, json, sys, urllib.error, urllib.request
import boto3

url = sys.argv[1]
here = dict(endpoint_url=url, region_name="local", aws_access_key_id="x", aws_secret_access_key="x")
events, sqs, gateway = (boto3.client(service, **here) for service in ("events", "sqs", "apigateway"))


def send(path, body, method="POST", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# An API key for two events a day, of one source.
key = gateway.create_api_key(name="shop", enabled=True, tags={"fakemon:source": "shop"})
plan = gateway.create_usage_plan(name="two", quota={"limit": 2, "period": "DAY"})
gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
sold = {"source": "shop", "detail-type": "sold", "detail": {}}
answers = [send("/events", sold, x_api_key=key["value"])[0] for _ in range(3)]
assert answers == [200, 200, 429], answers
gateway.update_usage_plan(
    usagePlanId=plan["id"], patchOperations=[{"op": "replace", "path": "/quota/limit", "value": "3"}]
)
assert send("/events", {**sold, "source": "other"}, x_api_key=key["value"])[0] == 403
try:
    gateway.get_api_key(apiKey="none")
except gateway.exceptions.NotFoundException:
    pass

# GitHub's events, on a bus of their own.
assert send("/webhooks/github", {"layout": "github", "secrets": ["hush hush"]}, "PUT")[0] == 200
source = "aws.partner/webhooks/github"
assert events.describe_event_source(Name=source)["State"] == "PENDING"
events.create_event_bus(Name=source, EventSourceName=source)
queue = sqs.create_queue(QueueName="pushed")["QueueUrl"]
arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]["QueueArn"]
events.put_rule(Name="pushed", EventBusName=source, EventPattern='{"detail-type": ["push"]}')
events.put_targets(Rule="pushed", EventBusName=source, Targets=[{"Id": "queue", "Arn": arn}])
push = {"ref": "refs/heads/main"}
signature = "sha256=" + hmac.new(b"hush hush", json.dumps(push).encode(), hashlib.sha256).hexdigest()
assert send("/webhooks/github", push, X_GitHub_Event="push", X_Hub_Signature_256=signature)[0] == 200
assert send("/webhooks/github", {}, X_GitHub_Event="push", X_Hub_Signature_256=signature)[0] == 401
message = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"][0]
assert json.loads(message["Body"])["detail"] == push, message
forged = {"player": "ash"}
signature = "sha256=" + hmac.new(b"hush hush", json.dumps(forged).encode(), hashlib.sha256).hexdigest()
kind = "fakemon.capture_succeeded"
assert send("/webhooks/github", forged, X_GitHub_Event=kind, X_Hub_Signature_256=signature)[0] == 400
entries = [{"Source": source, "DetailType": kind, "Detail": "{}"} for kind in ("ping", kind)]
put = events.put_partner_events(Entries=entries)
assert [entry.get("ErrorCode") for entry in put["Entries"]] == [None, "NotAuthorizedForSourceException"], put
print("as it should be")
