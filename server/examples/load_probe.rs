//! probe
use clap::Parser;
#[derive(Parser)]
struct A {
    #[command(flatten)]
    args: fakemon_server::load::LoadArgs,
}
fn main() -> anyhow::Result<()> {
    fakemon_server::load::run(A::parse().args)
}
