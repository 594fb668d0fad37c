//! The tests of the whole repository, in one binary. All of them work from outside, like a program, a player or an
//! operator.

#![expect(clippy::unwrap_used, reason = "a test may die of a surprise; that is its work")]

mod engine; // the engine, embedded: who wins, what is remembered, what is refused
mod examples; // the examples of the engine, each asserting what it shows
mod bus; // rules, targets, retries, dead letters, in the embedded engine
mod notices; // notices of the engine, and a rule that acts on one
mod topology; // the graph of sources, rules and targets, from the API and the command line
mod server; // starts the binary, stops it, kills it; used by the modules below
mod dice; // random numbers with a seed
mod player; // a player at a websocket
mod racer; // a player who remembers every answer, and retries
mod cli; // the command line: answers, errors in one line, exit codes, offline commands
mod control; // the control plane: events, metrics, health, the page, and errors
mod aws; // the AWS API and webhooks, as boto3 and targets see them
mod destinations; // deliveries to targets, byte for byte, and reasons of failures
mod contract; // the AWS API in detail: checks, messages, shapes of answers
mod schedules; // schedules: the scheduler's API, exactly once across kills, missed due times
mod queues; // SQS in detail: its messages and codes in both protocols, dead letters, redrive
mod fifo; // queues that keep the order of groups
mod timeline; // `fakemon timeline`: charts, JSON, and the report
mod logs; // log groups: as targets, as CloudWatch clients see them, and `fakemon log --rule`
mod letters; // messages of the bus to players, and events of their connections
mod doors; // commands and requests that are refused, by every way in
mod cloud_events; // the official CloudEvents cases, from request to target
mod raw; // JSON preserved as it was written, from input to target; bodies in other encodings
mod partners; // partner webhooks and event sources: signatures, each event once
mod authorship; // events that only the engine may put, tried by every API
mod api_keys; // API keys: rates, quotas, and usage that survives a kill
mod answers; // results as signed requests to webhooks of players
mod services; // implemented operations of each AWS service, of a server and on the page
mod signed; // AWS signatures, made by hand and by boto3
mod reset; // `POST /_reset` between two tests
mod at_connections; // `@connections`: messages of back ends to connections, players, groups, areas
mod general; // `/ws`: messages become events, and rules answer
mod authorizer; // authorizers of handshakes
mod resume; // players who reconnect and get the results they missed
mod schemas; // the schema registry: discovered, enforced, compared, turned into types
mod stream; // server-sent events: results that continue where they broke off
mod pipes; // pipes: from every source over filter and enrichment to targets, as boto3 makes them
mod history; // `explain`, `trace` and `replay`; the index
mod load; // the load generator and the demo world, against a real server
mod crash; // killed at random moments, again and again
mod linearizable; // histories of real clients across kills, and a checker of them
mod garbage; // invalid input on every interface, while a player continues
mod overload; // overload: bounded queues, throttled answers
mod shim; // libraries that are preloaded into the server
mod slow_log; // a journal whose syncs take long
mod disk; // a full disk, or a limit of file sizes
mod process; // logs, file descriptors, connections, signals, clocks of the process
mod clocks; // wall clocks that are wrong, and then set right
mod damage; // files that were changed or deleted
mod place; // a data directory whose files are deleted or replaced under a running server
mod power_cut; // power cuts in the first moments of a data directory
mod export; // JSON lines, CSV, Parquet; and an import of the same journal
mod directory; // permissions of a data directory, places of copies, errors of the system
mod terminal; // foreign text is printed as text
mod collector; // traces that are sent to collectors
mod checkpoint; // copies beside a running server
mod interrupts; // commands that a signal ends
mod salvage; // the readable rest of a damaged directory
mod golden; // output of every tool for one stored journal, and the incident guide
mod page; // the page's script, in node
mod tour; // the README: its blocks as they are, and its claims
mod older; // a data directory of an earlier version
mod tidy; // the sources themselves: openings, imports, reasons, generated code
