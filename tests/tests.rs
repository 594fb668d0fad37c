//! The tests of the whole house, in one binary. Everything here knocks from outside, as a program, a player or an
//! operator would.

#![expect(clippy::unwrap_used, reason = "a test may die of a surprise; that is its work")]

mod engine; // the engine, embedded: who wins, what is remembered, what is refused
mod examples; // the examples of the engine, each asserting what it shows
mod bus; // rules, targets, retries, dead letters, in the embedded engine
mod notices; // what the engine says of itself, and a rule that acts on it
mod topology; // who emits what and who consumes it, as the API and the command line say
mod server; // starts the binary, stops it, kills it: what the modules below stand on
mod dice; // chance with a seed
mod player; // a player at a websocket
mod racer; // a player who remembers every answer, and asks again
mod cli; // the command line: answers, errors in one line, exit codes, offline commands
mod control; // the control plane: events, metrics, health, the page, and what it refuses
mod aws; // the AWS API and webhooks, as boto3 and targets see them
mod destinations; // what reaches targets, byte for byte, and why something did not
mod contract; // the AWS API in detail: checks, words, shapes of answers
mod schedules; // what happens by the clock: the scheduler's API, exactly once across kills, what was missed
mod queues; // SQS in detail: its words and codes in both protocols, dead letters, redrive
mod fifo; // queues that keep the order of groups
mod timeline; // `fakemon timeline`: charts, JSON, and the report
mod logs; // log groups: as targets, as CloudWatch clients see them, and `fakemon log --rule`
mod letters; // what the bus says to players, and of who comes and goes
mod cloud_events; // the official CloudEvents cases, from request to target
mod raw; // JSON as it was written, on every way in, through and out; bodies that cannot be read
mod partners; // partner webhooks and event sources: signed by whom, told once
mod authorship; // what only the engine says, tried through every door
mod api_keys; // API keys: rates, quotas, and what a kill leaves of them
mod answers; // results as signed requests to webhooks of players
mod services; // what of each AWS service is here, as a server says, and the page
mod signed; // AWS signatures, made by hand and by boto3
mod reset; // `POST /_reset` between two tests
mod at_connections; // `@connections`: back ends that speak to connections, players, groups, areas
mod general; // `/ws`: what anybody says becomes events, and rules answer
mod authorizer; // a webhook that decides who may connect
mod resume; // players who come back and are told what they missed
mod schemas; // the schema registry: discovered, enforced, compared, turned into types
mod stream; // server-sent events: answers that go on where they broke off
mod pipes; // pipes: from every source over filter and enrichment to targets, as boto3 makes them
mod history; // what happened, asked of `explain`, `trace` and `replay`; the index
mod load; // the load generator and the demo world, against a real server
mod crash; // killed at random moments, life after life
mod garbage; // nonsense on every input, while somebody plays on
mod overload; // more than it can take
mod shim; // libraries that are preloaded into the server
mod slow_log; // a log whose syncs take long
mod disk; // full, or too small a limit
mod process; // logs, descriptors, connections, signals, clocks: whatever happens around it
mod clocks; // wall clocks that are wrong, and then set right
mod damage; // files that changed or went
mod power_cut; // what a power cut can leave of the first moments of a directory
mod export; // JSON lines, CSV, Parquet; and the same journal again
mod directory; // who may look into a data directory, where copies lie, what the system refuses
mod terminal; // what others wrote is printed as text
mod collector; // traces that are sent to collectors
mod checkpoint; // copies beside a server that works
mod interrupts; // commands that a signal ends
mod salvage; // what is left of a damaged directory
mod golden; // what every tool says of one kept journal, and the incident guide
mod page; // the page's script, in node
mod tour; // what the README shows: its blocks as they stand, and what it says in words
mod older; // a data directory of an earlier version
mod tidy; // the house itself: openings, doors, reasons, generated code
