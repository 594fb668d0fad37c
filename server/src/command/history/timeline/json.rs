//! A timeline as one JSON object; buckets are streamed, so that their number needs no memory.

use super::Told;
use fakemon_history::timeline::{Bucket, Depth, Gap, Hottest, Mark, Marked, Marks, Spread, Stage, Stall, Timeline};
use fakemon_model::event::Outcome;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

impl Told<'_> {
    /// Writes the timeline, on one line.
    pub(super) fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    fn hot<Id: Copy>(&self, hottest: &Hottest<Id>, key: &str, name: impl Fn(Id) -> String) -> Value {
        let top = hottest.top.iter().map(|hot| {
            let (attempts, most) = (hot.attempts, hot.attempts + hottest.missed_max);
            json!({ key: name(hot.id), "throws": attempts, "throws_max": most, "captured": hot.captured })
        });
        json!({ "top": top.collect::<Vec<_>>(), "different": hottest.different })
    }
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let timeline = self.timeline;
        let axis = &timeline.axis;
        let all = |marks: &[Mark]| marks.iter().map(mark).collect::<Vec<_>>();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("begin", &axis.begin().to_string())?;
        map.serialize_entry("end", &axis.end().to_string())?;
        map.serialize_entry("bucket_ns", &axis.bucket_ns())?;
        map.serialize_entry("first_position", &timeline.positions.map(|(first, _)| first.to_string()))?;
        map.serialize_entry("last_position", &timeline.positions.map(|(_, last)| last.to_string()))?;
        map.serialize_entry("whole", &bucket(&timeline.whole))?;
        map.serialize_entry("slow_ns", &timeline.slow_ns)?;
        map.serialize_entry("stalls", &timeline.stalls.iter().map(stall).collect::<Vec<_>>())?;
        map.serialize_entry("gap_ns", &timeline.gap_ns)?;
        map.serialize_entry("gaps", &timeline.gaps.iter().map(gap).collect::<Vec<_>>())?;
        map.serialize_entry("hot_fakemon", &self.hot(&timeline.fakemon, "fakemon_id", |id| id.to_string()))?;
        map.serialize_entry("hot_players", &self.hot(&timeline.players, "player", |id| self.player(id)))?;
        map.serialize_entry("opened", &all(&timeline.marks.opened))?;
        map.serialize_entry("said", &all(&timeline.marks.said))?;
        map.serialize_entry("changed", &all(&timeline.marks.changed))?;
        map.serialize_entry("put", &all(&timeline.marks.put))?;
        map.serialize_entry("put_kinds", &put_kinds(&timeline.marks))?;
        map.serialize_entry("marks_left_out", &timeline.marks.left_out)?;
        map.serialize_entry("buckets", &Buckets(timeline))?;
        map.end()
    }
}

struct Buckets<'a>(&'a Timeline);

impl Serialize for Buckets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.buckets.iter().enumerate().map(|(index, one)| {
            let mut told = bucket(one);
            told["begin"] = self.0.axis.begin_of(index).to_string().into();
            told["covered_ns"] = self.0.axis.covered_ns(index).into();
            told
        }))
    }
}

fn bucket(bucket: &Bucket) -> Value {
    let outcomes: Map<String, Value> =
        Outcome::ALL.into_iter().map(|one| (one.name().to_owned(), bucket.outcomes[one as usize].into())).collect();
    let stages: Map<String, Value> =
        Stage::ALL.into_iter().map(|stage| (stage.name().to_owned(), spread(bucket.stage(stage)))).collect();
    json!({
        "events": bucket.events(),
        "received": bucket.received,
        "decided": bucket.decided(),
        "outcomes": outcomes,
        "durable": bucket.durable,
        "appeared": bucket.appeared,
        "vanished": bucket.vanished,
        "put": bucket.put,
        "changed": bucket.changed,
        "named": bucket.named,
        "group_events": spread(&bucket.group_events),
        "stages_ns": stages,
        "undecided": depth(&bucket.undecided),
        "undurable": depth(&bucket.undurable),
    })
}

fn spread(spread: &Spread) -> Value {
    match spread.count {
        0 => Value::Null,
        count => json!({ "count": count, "p50": spread.p50, "p99": spread.p99, "max": spread.max }),
    }
}

fn depth(depth: &Depth) -> Value {
    json!({ "at_begin": depth.at_begin, "mean": depth.mean })
}

fn stall(stall: &Stall) -> Value {
    let stages: Map<String, Value> = Stage::PARTS
        .into_iter()
        .zip(stall.stages_ns)
        .map(|(stage, ns)| (stage.name().to_owned(), ns.into()))
        .collect();
    json!({
        "begin": stall.begin.to_string(),
        "end": stall.end.to_string(),
        "first_position": stall.first.to_string(),
        "last_position": stall.last.to_string(),
        "groups": stall.groups,
        "throws": stall.attempts,
        "worst_ns": stall.worst_ns,
        "slow": stall.slow.name(),
        "stages_ns_max": stages,
    })
}

fn gap(gap: &Gap) -> Value {
    json!({
        "kind": gap.kind.name(),
        "begin": gap.begin.to_string(),
        "end": gap.end.to_string(),
        "ns": gap.ns(),
        "next_position": gap.next.to_string(),
    })
}

fn put_kinds(marks: &Marks) -> Value {
    let kind = |((bus, source, detail_type), count): (&(String, String, String), &u64)| json!({ "bus": bus, "source": source, "detail_type": detail_type, "count": count });
    marks.put_kinds.iter().map(kind).collect()
}

fn mark(mark: &Mark) -> Value {
    let mut told = match &mark.what {
        Marked::Opened { cores, durable } => json!({ "cores": cores, "durable": durable }),
        Marked::Changed { key, gone } => json!({ "key": key, "gone": gone }),
        Marked::Said { detail_type, detail } => json!({ "detail_type": detail_type, "detail": detail }),
        Marked::Put { bus, source, detail_type } => {
            json!({ "bus": bus, "source": source, "detail_type": detail_type })
        }
    };
    told["at"] = mark.at.to_string().into();
    told["position"] = mark.position.to_string().into();
    told
}
