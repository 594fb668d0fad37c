//! SQS in the query protocol, the predecessor of the JSON one: `AttributeName.1=All` is `AttributeNames: ["All"]`
//! there, and `Tag.1.Key=a&Tag.1.Value=b` is `Tags: {"a": "b"}`. Requests are converted to the JSON protocol, and
//! answers to XML elements, so that one dispatch serves both.

use fakemon_aws::query::{Dialect, Form};
use fakemon_model::envelope::ACCOUNT;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The version of the protocol; it identifies forms for SQS.
pub const VERSION: &str = "2012-11-05";
/// XML namespace of answers.
pub const DIALECT: Dialect = Dialect { namespace: "http://queue.amazonaws.com/doc/2012-11-05/" };
/// Parts of a field's name, between dots, at most.
const DEPTH_MAX: usize = 8;

/// Fields by the parts of their names: `Tag.1.Key=a` is a branch `Tag` with a branch `1` with a text `Key`.
enum Tree {
    Text(String),
    Branch(BTreeMap<String, Tree>),
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::Branch(BTreeMap::new())
    }
}

impl Tree {
    fn of(form: &Form) -> Tree {
        let mut tree = Tree::default();
        for (name, value) in form.fields() {
            let parts: Vec<&str> = name.splitn(DEPTH_MAX, '.').collect();
            tree.put(&parts, value);
        }
        tree
    }

    fn put(&mut self, parts: &[&str], value: &str) {
        let Some((first, rest)) = parts.split_first() else {
            *self = Tree::Text(value.to_owned());
            return;
        };
        if let Tree::Text(_) = self {
            *self = Tree::default();
        }
        if let Tree::Branch(members) = self {
            members.entry((*first).to_owned()).or_default().put(rest, value);
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Tree::Text(text) => Some(text),
            Tree::Branch(_) => None,
        }
    }

    fn members(&self) -> impl Iterator<Item = (&String, &Tree)> {
        let members = match self {
            Tree::Branch(members) => Some(members),
            Tree::Text(_) => None,
        };
        members.into_iter().flatten()
    }

    fn text_of(&self, name: &str) -> Option<&str> {
        self.members().find(|(held, _)| *held == name).and_then(|(_, member)| member.text())
    }

    /// The members of a list in the order of their numbers; without numbers it is a list of one.
    fn list(&self) -> Vec<&Tree> {
        let mut numbered: Vec<(u64, &Tree)> =
            self.members().filter_map(|(number, member)| Some((number.parse().ok()?, member))).collect();
        if numbered.is_empty() {
            return vec![self];
        }
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, member)| member).collect()
    }
}

/// The type of a field in JSON.
enum Kind {
    /// A list of texts.
    Texts(&'static str),
    /// A map, with the field names of key and value.
    Map(&'static str, [&'static str; 2]),
    /// A list of objects.
    Entries,
}

fn kind(action: &str, name: &str) -> Option<Kind> {
    Some(match name {
        "AttributeName" => Kind::Texts("AttributeNames"),
        "MessageAttributeName" => Kind::Texts("MessageAttributeNames"),
        "MessageSystemAttributeName" => Kind::Texts("MessageSystemAttributeNames"),
        "TagKey" => Kind::Texts("TagKeys"),
        "AWSAccountId" => Kind::Texts("AWSAccountIds"),
        "ActionName" => Kind::Texts("Actions"),
        "Attribute" => Kind::Map("Attributes", ["Name", "Value"]),
        "MessageAttribute" => Kind::Map("MessageAttributes", ["Name", "Value"]),
        "MessageSystemAttribute" => Kind::Map("MessageSystemAttributes", ["Name", "Value"]),
        "Tag" if action == "CreateQueue" => Kind::Map("tags", ["Key", "Value"]),
        "Tag" => Kind::Map("Tags", ["Key", "Value"]),
        "SendMessageBatchRequestEntry"
        | "DeleteMessageBatchRequestEntry"
        | "ChangeMessageVisibilityBatchRequestEntry" => Kind::Entries,
        _ => return None,
    })
}

/// Converts a request to the members of the JSON protocol. Without a `QueueUrl` the queue is that of the path.
pub fn members(action: &str, form: &Form, path: &str) -> Map<String, Value> {
    let mut members = members_of(action, &Tree::of(form));
    let queue = path.strip_prefix('/').and_then(|path| path.strip_prefix(ACCOUNT)?.strip_prefix('/'));
    if let Some(queue) = queue.filter(|queue| !queue.is_empty()) {
        members.entry("QueueUrl").or_insert_with(|| queue.into());
    }
    members
}

fn members_of(action: &str, tree: &Tree) -> Map<String, Value> {
    let mut members = Map::new();
    for (name, given) in tree.members() {
        match kind(action, name) {
            Some(Kind::Texts(name)) => {
                let texts: Vec<&str> = given.list().into_iter().filter_map(Tree::text).collect();
                members.insert(name.into(), texts.into());
            }
            Some(Kind::Map(name, parts)) => {
                members.insert(name.into(), map(given, parts));
            }
            Some(Kind::Entries) => {
                let entries = given.list().into_iter().map(|entry| Value::from(members_of(action, entry)));
                members.insert("Entries".into(), entries.collect());
            }
            None => {
                if let Some(text) = given.text() {
                    members.insert(name.clone(), text.into());
                }
            }
        }
    }
    members
}

fn map(given: &Tree, [key, value]: [&str; 2]) -> Value {
    let mut map = Map::new();
    for entry in given.list() {
        let Some(name) = entry.text_of(key) else { continue };
        let value = entry.members().find(|(held, _)| *held == value).map(|(_, value)| match value {
            Tree::Text(text) => text.as_str().into(),
            branch => {
                let texts = branch.members().filter_map(|(name, value)| Some((name.clone(), value.text()?.into())));
                Value::Object(texts.collect())
            }
        });
        map.insert(name.to_owned(), value.unwrap_or_else(|| "".into()));
    }
    map.into()
}

/// Converts an answer to XML elements: lists under the name of their items, maps as lists of entries.
pub fn elements(action: &str, answer: Value) -> Value {
    let Value::Object(members) = answer else { return answer };
    let element = |(name, value): (String, Value)| match value {
        Value::Array(list) => {
            let list = list.into_iter().map(|value| elements(action, value)).collect();
            (element_of(action, &name), Value::Array(list))
        }
        Value::Object(map) => match entry_of(&name) {
            Some([entry, key, of]) => {
                let entries = map.into_iter().map(|(name, value)| json!({ key: name, of: value })).collect();
                (entry.to_owned(), Value::Array(entries))
            }
            None => (name, elements(action, Value::Object(map))),
        },
        value => (name, value),
    };
    Value::Object(members.into_iter().map(element).collect())
}

fn element_of(action: &str, list: &str) -> String {
    match list {
        "QueueUrls" | "queueUrls" => "QueueUrl".into(),
        "Messages" => "Message".into(),
        "Failed" => "BatchResultErrorEntry".into(),
        "Successful" => format!("{action}ResultEntry"),
        "Results" => "ListMessageMoveTasksResultEntry".into(),
        other => other.into(),
    }
}

fn entry_of(map: &str) -> Option<[&'static str; 3]> {
    Some(match map {
        "Attributes" => ["Attribute", "Name", "Value"],
        "MessageAttributes" => ["MessageAttribute", "Name", "Value"],
        "Tags" => ["Tag", "Key", "Value"],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(action: &str, query: &str, path: &str) -> Value {
        let uri = format!("{path}?Action={action}&{query}").parse().unwrap();
        let form = Form::read(&axum::http::HeaderMap::new(), &uri, b"").unwrap().unwrap();
        members(action, &form, path).into()
    }

    #[test]
    fn fields_become_the_members_of_the_json_protocol() {
        let query = "SendMessageBatchRequestEntry.2.Id=b&SendMessageBatchRequestEntry.10.Id=c\
                     &SendMessageBatchRequestEntry.1.Id=a\
                     &SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n\
                     &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String\
                     &SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=a+b";
        let read_one = read("SendMessageBatch", query, "/123456789012/q");
        let attribute = json!({ "n": { "DataType": "String", "StringValue": "a b" } });
        let entries = json!([{ "Id": "a", "MessageAttributes": attribute }, { "Id": "b" }, { "Id": "c" }]);
        assert_eq!((&read_one["Entries"], &read_one["QueueUrl"]), (&entries, &json!("q")));
        let all = read("GetQueueAttributes", "AttributeName=All&QueueUrl=x%2Fy", "/");
        assert_eq!((&all["AttributeNames"], &all["QueueUrl"]), (&json!(["All"]), &json!("x/y")));
        let made = read("CreateQueue", "Tag.1.Key=k&Tag.1.Value=v&Attribute.1.Name=a&Attribute.1.Value=1", "/");
        assert_eq!((&made["tags"], &made["Attributes"]), (&json!({ "k": "v" }), &json!({ "a": "1" })));
        read("SendMessage", "a.b=1&a=2&a.c=3&.=4&=&&Tag=1&Attribute.x=2&a.b.c.d.e.f.g.h.i.j=1", "/"); // nonsense
        // Numbers say the order of a list, however large they are, and nothing of its length.
        let far = "Attribute.4294967295.Name=b&Attribute.4294967295.Value=2&Attribute.7.Name=a&Attribute.7.Value=1\
                   &AttributeName.18446744073709551615=y&AttributeName.0=x&AttributeName.99999999999999999999=z";
        let far = read("CreateQueue", far, "/");
        assert_eq!(
            (&far["Attributes"], &far["AttributeNames"]),
            (&json!({ "a": "1", "b": "2" }), &json!(["x", "y"]))
        );
    }

    #[test]
    fn answers_become_elements() {
        let message = json!({ "Body": "x", "Attributes": { "SenderId": "1" } });
        assert_eq!(
            elements("ReceiveMessage", json!({ "Messages": [message] })),
            json!({ "Message": [{ "Body": "x", "Attribute": [{ "Name": "SenderId", "Value": "1" }] }] })
        );
        let sent = elements("SendMessageBatch", json!({ "Successful": [{ "Id": "a" }] }));
        assert_eq!(sent, json!({ "SendMessageBatchResultEntry": [{ "Id": "a" }] }));
    }
}
