"""What the README says beside its blocks, with boto3 and a websocket library: a pipe tells who comes, a back end answers
by `@connections`, a schedule brings a wave, a stream tells of a capture, a schema is learned, enforced, made into types."""

import contextlib, datetime, io, json, sys, time, urllib.error, urllib.request, zipfile
import boto3
from websockets.sync.client import connect

control, play = sys.argv[1:3]
here = dict(endpoint_url=control, region_name="local", aws_access_key_id="x", aws_secret_access_key="x")
services = ("events", "sqs", "scheduler", "pipes", "schemas", "apigatewaymanagementapi")
events, sqs, scheduler, pipes, schemas, connections = (boto3.client(name, **here) for name in services)
ROLE = "arn:aws:iam::123456789012:role/any"


def queue(name):
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["QueueArn"]


def received(url):
    for _ in range(10):
        for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return json.loads(message["Body"])
    raise AssertionError(f"nothing came to {url}")


def heard(socket, wanted):
    while True:
        message = json.loads(socket.recv(timeout=20))
        if message["type"] == wanted:
            return message


# Who comes, and what is caught, by a pipe.
came, came_arn = queue("came")
pipes.create_pipe(
    Name="came", RoleArn=ROLE, Source="arn:aws:events:local:123456789012:event-bus/fakemon", Target=came_arn,
    SourceParameters={"FilterCriteria": {"Filters": [{"Pattern": '{"detail-type":["fakemon.connected"]}'}]}},
    TargetParameters={"InputTemplate": '{"who":<$.detail.player>,"id":<$.detail.connection_id>}'},
)
while pipes.describe_pipe(Name="came")["CurrentState"] != "RUNNING":
    time.sleep(0.05)

# A back end speaks to a player.
ash = contextlib.ExitStack().enter_context(connect(f"{play}/play?player=ash"))
who = received(came)
assert who["who"] == "ash", who
connections.post_to_connection(ConnectionId=who["id"], Data=json.dumps({"type": "hello"}))
assert heard(ash, "hello") == {"type": "hello"}

# What happens to ash, as server-sent events.
stream = urllib.request.urlopen(f"{control}/stream?player=ash", timeout=20)

# A wave of fakémon, in a second.
soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
spawn = {"species": "sparkit", "lat": 40.4168, "lon": -3.7038, "catch_rate": 1}
entry = {"Source": "fakemon.world", "DetailType": "fakemon.spawn", "Detail": json.dumps(spawn)}
scheduler.create_schedule(
    Name="wave", ScheduleExpression=soon.strftime("at(%Y-%m-%dT%H:%M:%S)"), FlexibleTimeWindow={"Mode": "OFF"},
    Target={
        "Arn": "arn:aws:scheduler:::aws-sdk:eventbridge:putEvents", "RoleArn": ROLE,
        "Input": json.dumps({"Entries": [entry] * 5}),
    },
)
ash.send(json.dumps({"type": "look", "lat": 40.4168, "lon": -3.7038, "radius_m": 200}))
wild = heard(ash, "world")["fakemon"]
while len(wild) < 5:
    wild.append(heard(ash, "appeared"))
throw = {"type": "attempt", "attempt_id": "1", "fakemon_id": wild[0]["fakemon_id"], "lat": 40.4168, "lon": -3.7038}
ash.send(json.dumps(throw))
assert heard(ash, "result")["outcome"] == "captured"
while not (line := stream.readline().decode()).startswith("event: fakemon.capture_succeeded"):
    assert line, "the stream ended"

# Events of a shop: their schema is learned, then enforced.
events.create_event_bus(Name="shop")
bus = "arn:aws:events:local:123456789012:event-bus/shop"
schemas.create_discoverer(SourceArn=bus)


def sell(detail):
    entry = {"EventBusName": "shop", "Source": "shop", "DetailType": "sold", "Detail": json.dumps(detail)}
    return events.put_events(Entries=[entry])["Entries"][0]


for unit in range(3):
    assert "EventId" in sell({"unit": unit, "to": "ash"})
for _ in range(200):
    try:
        learned = schemas.describe_schema(RegistryName="discovered-schemas", SchemaName="shop@sold")
        break
    except schemas.exceptions.NotFoundException:
        time.sleep(0.1)
assert "unit" in learned["Content"]
events.tag_resource(ResourceARN=bus, Tags=[{"Key": "fakemon:schema-enforcement", "Value": "reject"}])
refused = sell({"unit": "three", "to": "ash"})
assert refused["ErrorCode"] == "SchemaValidationFailed" and "$.detail.unit" in refused["ErrorMessage"], refused

# Types for TypeScript.
of = dict(Language="TypeScript3", RegistryName="discovered-schemas", SchemaName="shop@sold")
schemas.put_code_binding(**of)
schemas.get_waiter("code_binding_exists").wait(**of)
source = zipfile.ZipFile(io.BytesIO(schemas.get_code_binding_source(**of)["Body"].read()))
text = "".join(source.read(name).decode() for name in source.namelist())
assert "unit" in text and "interface" in text, text

ash.close()
print("as it should be")
