//! CloudEvents over HTTP: the cases of the official conformance suite, from the request to the delivery at a target.

use crate::aws::{events, queue, receive};
use crate::server::{Server, fresh_data};
use serde_json::{Value, json};

/// A server whose queue gets whatever is put on the default bus.
fn listening(data: &tempfile::TempDir) -> (Server, String) {
    let server = Server::start(data.path(), &[]);
    let (url, arn) = queue(&server, "all");
    let pattern = json!({ "source": [{ "prefix": "/" }] }).to_string();
    events(&server, "PutRule", json!({ "Name": "all", "EventPattern": pattern }));
    events(&server, "PutTargets", json!({ "Rule": "all", "Targets": [{ "Id": "q", "Arn": arn }] }));
    (server, url)
}

/// Sends a request; returns the event that the target got.
fn heard(server: &Server, url: &str, headers: &[(&str, &str)], body: &str) -> Value {
    let mut request = ureq::post(format!("http://{}/events", server.control));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    assert_eq!(request.send(body).unwrap().status().as_u16(), 200);
    serde_json::from_str(receive(server, url, 1)[0]["Body"].as_str().unwrap()).unwrap()
}

#[test]
fn the_four_cases_of_the_http_binding() {
    let data = fresh_data();
    let (server, url) = listening(&data);
    let said = json!({ "message": "Hello World!" });
    let attributes = [
        ("specversion", "1.0"),
        ("type", "com.example.someevent"),
        ("time", "2018-04-05T03:56:24Z"),
        ("id", "1234-1234-1234"),
        ("source", "/mycontext/subcontext"),
    ];
    let check = |event: &Value, content_type: &str| {
        assert_eq!(
            (&event["detail-type"], &event["source"]),
            (&json!("com.example.someevent"), &json!(attributes[4].1))
        );
        assert!(event["time"].as_str().unwrap().starts_with("2018-04-05T03:56:24"), "{event}");
        let kept = [format!("cloudevents:datacontenttype={content_type}"), "cloudevents:id=1234-1234-1234".into()];
        assert_eq!((&event["resources"], &event["detail"]), (&json!(kept), &said));
    };
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        let names = attributes.map(|(name, value)| (format!("ce-{name}"), value));
        let mut headers: Vec<(&str, &str)> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        headers.push(("content-type", content_type));
        check(&heard(&server, &url, &headers, "{\n    \"message\": \"Hello World!\"\n}\n"), content_type);
    }
    for content_type in ["application/cloudevents+json", "application/cloudevents+json; charset=utf-8"] {
        let mut event = json!({ "datacontenttype": "application/json", "data": said });
        attributes.iter().for_each(|(name, value)| event[name] = json!(value));
        check(&heard(&server, &url, &[("content-type", content_type)], &event.to_string()), "application/json");
    }
}

#[test]
fn the_six_minimal_events_in_both_modes() {
    let data = fresh_data();
    let (server, url) = listening(&data);
    let source = "//github.com/cloudevents/cloudeventsconformance/yaml/v1.yaml";
    for (id, content_type, said, detail) in [
        ("conformance-0001", "text/plain; charset=us-ascii", "Hello, World!\n", json!({ "data": "Hello, World!\n" })),
        ("conformance-0002", "text/plain; charset=utf-8", "Hello, 🌎!\n", json!({ "data": "Hello, 🌎!\n" })),
        ("conformance-0003", "application/json; charset=utf-8", "\"Hello, 🌎!\"\n", json!({ "data": "Hello, 🌎!" })),
        (
            "conformance-0004",
            "application/json; charset=utf-8",
            "{\"msg\":\"Hello, 🌎!\"}\n",
            json!({ "msg": "Hello, 🌎!" }),
        ),
        (
            "conformance-0005",
            "application/json; charset=utf-8",
            "[\"Hello\",\"🌎!\"]\n",
            json!({ "data": ["Hello", "🌎!"] }),
        ),
        (
            "conformance-0006",
            "application/xml; charset=utf-8",
            "<msg>Hello, 🌎!</msg>\n",
            json!({ "data": "<msg>Hello, 🌎!</msg>\n" }),
        ),
    ] {
        let binary = [
            ("ce-specversion", "1.0"),
            ("ce-type", "io.cloudevents.minimum"),
            ("ce-id", id),
            ("ce-source", source),
            ("content-type", content_type),
        ];
        let data = serde_json::from_str(said).ok().filter(|_| content_type.contains("json"));
        let structured = json!({ "specversion": "1.0", "type": "io.cloudevents.minimum", "id": id, "source": source,
                                 "datacontenttype": content_type, "data": data.unwrap_or_else(|| json!(said)) });
        let kept = json!([format!("cloudevents:datacontenttype={content_type}"), format!("cloudevents:id={id}")]);
        for event in [
            heard(&server, &url, &binary, said),
            heard(&server, &url, &[("content-type", "application/cloudevents+json")], &structured.to_string()),
        ] {
            assert_eq!((&event["detail"], &event["resources"]), (&detail, &kept), "{id}");
            assert_eq!((&event["source"], &event["detail-type"]), (&json!(source), &json!("io.cloudevents.minimum")));
        }
    }
}
