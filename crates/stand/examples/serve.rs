//! A stand by hand: `cargo run -p stand --example serve -- [ADDRESS] [LEDGER]`, ended with Ctrl-C.
//!
//! Besides the six telecom systems there is `any`, which takes every call.

use stand::{LedgerSettings, Settings, SystemSpec};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let listen = words.next().unwrap_or_else(|| "127.0.0.1:7420".to_owned()).parse()?;
    let mut settings = Settings::telecom(listen);
    settings.systems.push(SystemSpec::generic("any"));
    settings.ledger = words.next().map(LedgerSettings::at);
    let started = |stand: &stand::Stand| {
        for system in stand.systems() {
            println!("{system:<10}{}", stand.own_url(system).unwrap_or_default());
        }
        println!("all of them at http://{}/<name>, control at http://{}/_stand/", stand.address(), stand.address());
    };
    let shutdown = async {
        if let Err(why) = tokio::signal::ctrl_c().await {
            eprintln!("cannot wait for Ctrl-C: {why}");
        }
    };
    Ok(stand::run(&settings, started, shutdown).await?)
}
