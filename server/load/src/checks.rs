//! Checks after a run, through another websocket client than the one that made the load: does a retried attempt on a
//! new connection get its first answer, and does every player find their captures in their collection?

use super::ledger::Ledger;
use super::messages::{self, Message, Request};
use super::socket::Access;
use super::tally::{Sample, Tally};
use super::target::Target;
use anyhow::{Context, bail};
use fakemon_model::ids::FakemonId;
use fakemon_workload::Nth;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message as Frame, WebSocket};

/// Players who are checked, at most; a run with more checks every nth.
const PLAYERS_MAX: usize = 1_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Counts of the checks.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Checked {
    /// Attempts retried on another connection that got the first answer.
    pub(crate) repeated: u64,
    /// Collections read.
    pub(crate) collections: u64,
    /// Captures found in them.
    pub(crate) captures: u64,
}

/// The attempts and captures to check of one player.
#[derive(Default)]
struct Player {
    samples: Vec<Sample>,
    wins: BTreeSet<Nth>,
}

/// Runs the checks; contradictions go into the ledger.
pub(crate) fn ask(target: &Target, access: &Access, tally: &Tally, ledger: &Ledger) -> anyhow::Result<Checked> {
    let players = players(access, tally);
    let mut checked = Checked::default();
    let step = players.len().div_ceil(PLAYERS_MAX).max(1);
    for (contender, player) in players.iter().step_by(step) {
        let mut dialogue = Dialogue::open(target, access, *contender)?;
        for sample in &player.samples {
            checked.repeated += u64::from(ask_again(&mut dialogue, sample, ledger)?);
        }
        let caught = dialogue.collection()?;
        checked.collections += 1;
        checked.captures += compare(ledger, player, &caught, tally.unanswered);
    }
    Ok(checked)
}

/// Samples and wins by player; with a token all contenders are one player.
fn players(access: &Access, tally: &Tally) -> BTreeMap<u32, Player> {
    let who = |contender: u32| match access {
        Access::Open { .. } => contender,
        Access::Token(_) => 0,
    };
    let mut players: BTreeMap<u32, Player> = BTreeMap::new();
    for sample in &tally.samples {
        players.entry(who(sample.contender.0)).or_default().samples.push(*sample);
    }
    for (contender, nth) in &tally.wins {
        players.entry(who(contender.0)).or_default().wins.insert(*nth);
    }
    players
}

/// Whether a retried attempt gets the same answer.
fn ask_again(dialogue: &mut Dialogue, sample: &Sample, ledger: &Ledger) -> anyhow::Result<bool> {
    let answer = dialogue.attempt(&sample.request)?;
    let same = answer.verdict == sample.verdict && answer.fakemon_id == sample.request.fakemon_id;
    if !same {
        let Sample { request, verdict, .. } = sample;
        ledger.contradiction(format!("{request:?} got {verdict:?}, sent again on another connection {answer:?}"));
    }
    Ok(same)
}

/// Compares a collection with the player's captures; returns how many were found.
fn compare(ledger: &Ledger, player: &Player, caught: &BTreeSet<FakemonId>, unanswered: u64) -> u64 {
    let world = ledger.world();
    for nth in player.wins.iter().filter(|nth| !caught.contains(&world.id(**nth))) {
        ledger.contradiction(format!("fakémon {} is not in its winner's collection", world.id(*nth)));
    }
    let ours = caught.iter().filter_map(|id| world.nth(*id));
    for nth in ours.filter(|nth| unanswered == 0 && !player.wins.contains(nth)) {
        ledger
            .contradiction(format!("fakémon {} is in the collection of somebody who did not win it", world.id(nth)));
    }
    player.wins.iter().filter(|nth| caught.contains(&world.id(**nth))).count() as u64
}

/// A connection with one request at a time.
struct Dialogue(WebSocket<TcpStream>);

#[derive(Deserialize)]
struct Collection {
    items: Vec<Item>,
    more_before: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    fakemon_id: String,
}

impl Dialogue {
    fn open(target: &Target, access: &Access, contender: u32) -> anyhow::Result<Dialogue> {
        let stream = target.connect().context("cannot connect for the checks at the end")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let (query, token) = match access {
            Access::Open { prefix } => (format!("?player={prefix}{contender}"), None),
            Access::Token(token) => (String::new(), Some(format!("Bearer {token}"))),
        };
        let mut request = format!("ws://{}/play{query}", target.authority).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static("fakemon.v1.json"));
        if let Some(token) = token {
            request.headers_mut().insert("Authorization", HeaderValue::try_from(token)?);
        }
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Dialogue(socket))
    }

    fn attempt(&mut self, request: &Request) -> anyhow::Result<messages::Answer> {
        let Request { attempt_id, fakemon_id, place } = request;
        self.0.send(Frame::text(format!(
            r#"{{"type":"attempt","attempt_id":"{attempt_id}","fakemon_id":"{fakemon_id}","lat":{},"lon":{}}}"#,
            place.lat(),
            place.lon()
        )))?;
        self.wait(|text| match messages::read(text.as_bytes()) {
            Message::Answer(answer) if answer.attempt_id == *attempt_id => Ok(Some(answer)),
            Message::Answer(_) | Message::Other => Ok(None),
            Message::Wrong(what) => bail!("a throw that was sent again: {what}"),
        })
    }

    fn collection(&mut self) -> anyhow::Result<BTreeSet<FakemonId>> {
        let mut caught = BTreeSet::new();
        let mut question = r#"{"type":"collection"}"#.to_owned();
        loop {
            self.0.send(Frame::text(question))?;
            let page: Collection = self.wait(|text| match text.starts_with(r#"{"type":"collection""#) {
                true => Ok(Some(serde_json::from_str(text).context("a collection cannot be read")?)),
                false => Ok(None),
            })?;
            for item in page.items {
                caught.insert(FakemonId(item.fakemon_id.parse().context("a collection holds an odd fakemon_id")?));
            }
            match page.more_before {
                Some(before) => question = format!(r#"{{"type":"collection","before":"{before}"}}"#),
                None => return Ok(caught),
            }
        }
    }

    /// Reads messages until `is_it` accepts one.
    fn wait<T>(&mut self, mut is_it: impl FnMut(&str) -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
        let start = Instant::now();
        while start.elapsed() < ANSWER_TIMEOUT {
            if let Frame::Text(text) = self.0.read().context("no answer in the checks at the end")?
                && let Some(found) = is_it(&text)?
            {
                return Ok(found);
            }
        }
        bail!("no answer within {} s in the checks at the end", ANSWER_TIMEOUT.as_secs())
    }
}
